# FCOS on COCO: 5,000 images, then 1,000 a round until AP 22 (section 4.2 and
# table 9 of ISAL). The ImageNet weights need torchvision.
_base_ = [
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    '../al_protocol.py'
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        style='pytorch',
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='torchvision://resnet50')))

# 12 epochs at learning rate 0.01, x0.1 after epochs 8 and 11, are those of
# the base. The rate is for a batch of 8, 2 images on each of 4 GPUs, and is
# scaled for another number of processes.
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=True, base_batch_size=8)
train_cfg = dict(val_interval=12)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))

active_learning = dict(
    data=dict(
        ann_file='annotations/instances_train2017.json',
        source='https://cocodataset.org/#download (2017 train and val images '
        'and annotations, unpacked into data/coco)'),
    initial=dict(size=5000),
    rounds=30,
    target=dict(metric='coco/bbox_mAP', value=0.22),
    budget=dict(size=1000, unit='images'))

# RetinaNet on COCO (tables I and II of Scalable AL): 14,000 images and one
# query for 28,000, which is the paper's 100,000 and 200,000 of 847,000.
_base_ = [
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    '../al_protocol.py'
]

# 12 epochs at learning rate 0.01, x0.1 after epochs 8 and 11, are those of
# the base. The rate is for a batch of 16, 2 images on each of 8 GPUs, and is
# scaled for another number of processes.
auto_scale_lr = dict(enable=True)
train_cfg = dict(val_interval=12)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))

val_evaluator = dict(type='mmal.SizeWeightedCocoMetric', classwise=True)
test_evaluator = val_evaluator

active_learning = dict(
    data=dict(
        ann_file='annotations/instances_train2017.json',
        source='https://cocodataset.org/#download (2017 train and val images '
        'and annotations, unpacked into data/coco)'),
    initial=dict(size=14000),
    rounds=2,
    budget=dict(size=28000, unit='images'))

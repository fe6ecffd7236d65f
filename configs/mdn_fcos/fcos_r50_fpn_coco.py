# Plain FCOS with mmdet's improvements on COCO, the baseline of
# fcos-gaussian_r50_fpn_coco.py and fcos-mdn_r50_fpn_coco.py. The ImageNet
# weights need torchvision.
_base_ = \
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py'
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

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

# 2 images on each of 8 GPUs; scaled for another number.
auto_scale_lr = dict(enable=True, base_batch_size=16)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))

# yolov3_d53_voc0712.py with ResNet-50 in place of Darknet53, whose ImageNet
# weights can no longer be had. As there no stage is frozen, and batch norms
# keep the statistics of ImageNet. The weights need torchvision.
_base_ = './yolov3_d53_voc0712.py'
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(in_channels=[2048, 1024, 512]))

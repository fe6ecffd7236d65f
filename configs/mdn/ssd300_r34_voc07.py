# ssd300_r50_voc07.py with ResNet-34 (figure 4c of MDN).
_base_ = './ssd300_r50_voc07.py'
channels = (128, 256, 512, 256, 256, 256)
model = dict(
    backbone=dict(
        depth=34, init_cfg=dict(checkpoint='torchvision://resnet34')),
    neck=dict(in_channels=(128, 256), out_channels=channels),
    bbox_head=dict(in_channels=channels))

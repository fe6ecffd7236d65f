# SSD300 with ResNet-50 instead of VGG16, for the transfer of labelled sets
# (figure 4c of MDN):
#   python tools/transfer.py configs/mdn/ssd300_r50_voc07.py \
#       work_dirs/ssd300-mdn_voc07 --round 2
# The paper does not say which maps it takes: here those of strides 8 and 16,
# as of VGG16, so that anchors and extra layers are SSD300's.
_base_ = './ssd300_voc07.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(1, 2),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(l2_norm_scale=None))

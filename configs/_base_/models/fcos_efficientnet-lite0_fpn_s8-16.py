# Strides 8 and 16 alone, for small images.
_base_ = './fcos_efficientnet-lite0_fpn.py'
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=dict(out_indices=(3, 4)),
    neck=dict(in_channels=[40, 112], num_outs=2),
    bbox_head=dict(strides=[8, 16], regress_ranges=((-1, 32), (32, 1e8))))

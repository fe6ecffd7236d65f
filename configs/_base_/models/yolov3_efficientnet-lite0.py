# YOLOv3 small enough for a CPU: EfficientNet-Lite0 with ImageNet weights in
# place of Darknet53, and a narrow neck. Losses and post-processing are those
# of yolov3_d53.py. The anchors are the centres that k-means (distance 1 - IoU,
# best of 20 starts) finds for the 3,941 boxes of BCCD's pool, in images of
# 320 x 240; the mean IoU of a box with its nearest is 0.88.
_base_ = './yolov3_d53.py'
model = dict(
    data_preprocessor=dict(
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        pad_size_divisor=32),
    backbone=dict(
        _delete_=True,
        type='mmal.EfficientNetLite',
        out_indices=(3, 4, 5),
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained', checkpoint='efficientnet-lite0://imagenet')),
    neck=dict(in_channels=[320, 112, 40], out_channels=[96, 64, 48]),
    bbox_head=dict(
        in_channels=[96, 64, 48],
        out_channels=[128, 96, 64],
        anchor_generator=dict(
            base_sizes=[[(61, 58), (87, 73), (112, 103)],
                        [(40, 56), (58, 47), (52, 54)],
                        [(20, 19), (50, 35), (46, 45)]])))

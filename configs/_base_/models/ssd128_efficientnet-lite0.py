# ssd300_efficientnet-lite0.py for images of 128 px: four levels.
_base_ = './ssd300_efficientnet-lite0.py'
model = dict(
    neck=dict(
        out_channels=(40, 112, 320, 128),
        level_strides=(2, ),
        level_paddings=(1, )),
    bbox_head=dict(
        in_channels=(40, 112, 320, 128),
        anchor_generator=dict(
            _delete_=True,
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16, 32, 64],
            min_sizes=[14, 28, 56, 90],
            max_sizes=[28, 56, 90, 120],
            ratios=[[2], [2], [2], [2]])))

# fcos_efficientnet-lite0_fpn_s8-16.py with a frozen backbone, whose features
# of each image are computed once and kept in memory: the neck and the head are
# trained.
_base_ = './fcos_efficientnet-lite0_fpn_s8-16.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmal.CachedBackbone',
        backbone=dict(
            type='mmal.EfficientNetLite',
            out_indices=(3, 4),
            init_cfg=dict(
                type='Pretrained', checkpoint='efficientnet-lite0://imagenet'
            ))))

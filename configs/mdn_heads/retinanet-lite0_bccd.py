# Plain RetinaNet with EfficientNet-Lite0 features on all of BCCD, the
# baseline of retinanet-lite0-mdn_bccd.py. Where the photos are looked for:
# the environment variable MMAL_DATA_ROOT, or --cfg-options data_root=…
_base_ = [
    '../_base_/models/fcos_efficientnet-lite0_fpn.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/schedule_400i.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(
    type='RetinaNet',
    bbox_head=dict(
        _delete_=True,
        type='RetinaHead',
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=16, requires_grad=True),
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=2,
            ratios=[0.7, 1.0, 1.4],
            strides=[8, 16, 32, 64]),
        loss_cls=dict(
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
            ignore_iof_thr=-1),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False))

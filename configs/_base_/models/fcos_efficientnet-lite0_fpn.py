# FCOS small enough for a CPU: EfficientNet-Lite0 with ImageNet weights, a
# narrow FPN and short towers; strides 8, 16, 32 and 64. The backbone needs
# mmal to be imported, which _base_/al_protocol.py does.
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(
        type='mmal.EfficientNetLite',
        out_indices=(3, 4, 5),
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained', checkpoint='efficientnet-lite0://imagenet')),
    neck=dict(
        type='FPN',
        in_channels=[40, 112, 320],
        out_channels=64,
        start_level=0,
        add_extra_convs='on_output',
        num_outs=4,
        relu_before_extra_convs=True),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=80,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32, 64],
        regress_ranges=((-1, 48), (48, 96), (96, 192), (192, 1e8)),
        center_sampling=True,
        center_sample_radius=1.5,
        norm_on_bbox=True,
        centerness_on_reg=True,
        norm_cfg=dict(type='GN', num_groups=16, requires_grad=True),
        # Distances are clamped at 0, where no gradient flows: boxes begin
        # well inside, or a side can die in the first steps.
        init_cfg=dict(
            type='Normal',
            layer='Conv2d',
            std=0.01,
            override=[
                dict(
                    type='Normal', name='conv_cls', std=0.01, bias_prob=0.01),
                dict(type='Normal', name='conv_reg', std=0.01, bias=2.0)
            ]),
        loss_cls=dict(
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
        loss_centerness=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)),
    test_cfg=dict(
        nms_pre=500,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100))

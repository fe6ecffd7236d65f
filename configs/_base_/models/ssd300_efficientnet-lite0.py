# SSD300 small enough for a CPU: EfficientNet-Lite0 with ImageNet weights in
# place of VGG16, and the depthwise convolutions and batch norm of SSDLite.
# Levels, anchors (VOC's), losses and post-processing are SSD300's. The
# backbone needs mmal to be imported, which _base_/al_protocol.py does.
input_size = 300
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    backbone=dict(
        type='mmal.EfficientNetLite',
        out_indices=(3, 4, 5),
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained', checkpoint='efficientnet-lite0://imagenet')),
    neck=dict(
        type='SSDNeck',
        in_channels=(40, 112, 320),
        out_channels=(40, 112, 320, 256, 128, 128),
        level_strides=(2, 1, 1),
        level_paddings=(1, 0, 0),
        l2_norm_scale=None,
        use_depthwise=True,
        norm_cfg=dict(type='BN', eps=1e-3),
        act_cfg=dict(type='ReLU6'),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)),
    bbox_head=dict(
        type='mmal.SSDHead',
        in_channels=(40, 112, 320, 256, 128, 128),
        num_classes=20,
        use_depthwise=True,
        norm_cfg=dict(type='BN', eps=1e-3),
        act_cfg=dict(type='ReLU6'),
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.01),
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            input_size=input_size,
            basesize_ratio_range=(0.2, 0.9),
            strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2])),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False),
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.45),
        min_bbox_size=0,
        score_thr=0.01,
        max_per_img=200))

# SSD300 of mmdet with classes and anchors for VOC. The backbone starts from
# torchvision's VGG16, its fc6 and fc7 decimated to conv6 and conv7, so images
# are normalised as torchvision does.
_base_ = 'mmdet::_base_/models/ssd300.py'
model = dict(
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),
    backbone=dict(
        init_cfg=dict(
            type='mmal.VGG16ForSSD', checkpoint='torchvision://vgg16')),
    bbox_head=dict(
        type='mmal.SSDHead',
        num_classes=20,
        anchor_generator=dict(basesize_ratio_range=(0.2, 0.9))),
    test_cfg=dict(score_thr=0.01))

# ResNet-18 for images of 32 x 32 pixels.
num_classes = 10
model = dict(
    type='mmal.ImageClassifier',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
        bgr_to_rgb=True),
    backbone=dict(type='mmal.SmallImageResNet', depth=18),
    cls_head=dict(
        type='mmal.LinearClsHead', num_classes=num_classes, in_channels=512))

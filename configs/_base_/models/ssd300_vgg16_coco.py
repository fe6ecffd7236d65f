# ssd300_vgg16.py with COCO's classes, and anchors for its smaller objects.
_base_ = './ssd300_vgg16.py'
model = dict(
    bbox_head=dict(
        num_classes=80,
        anchor_generator=dict(basesize_ratio_range=(0.15, 0.9))))

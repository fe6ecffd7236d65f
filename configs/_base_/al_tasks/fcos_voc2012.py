# FCOS on PASCAL VOC 2012: 500 images, then 9 x 500 (section 4.2 and table 8 of
# ISAL, whose mAP is AP50). The COCO files are made by
#   python tools/dataset/voc2coco.py data/VOCdevkit/VOC2012
_base_ = './fcos_coco.py'

data_root = 'data/VOCdevkit/'
metainfo = dict(
    classes=('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car',
             'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike',
             'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'))
model = dict(bbox_head=dict(num_classes=20))

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
train_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/voc2012_train.json',
        data_prefix=dict(img='VOC2012/JPEGImages/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/voc2012_val.json',
        data_prefix=dict(img='VOC2012/JPEGImages/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
# COCO's AP, and VOC2012's own, which is an area: pascal_voc/AP50
val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file=data_root + 'annotations/voc2012_val.json',
        metric='bbox',
        format_only=False),
    dict(type='VOCMetric', iou_thrs=[0.5, 0.75], eval_mode='area')
]
test_evaluator = val_evaluator

active_learning = dict(
    data=dict(
        ann_file='annotations/voc2012_train.json',
        source='http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (unpacked '
        'into data/VOCdevkit), then python tools/dataset/voc2coco.py '
        'data/VOCdevkit/VOC2012'),
    initial=dict(size=500),
    rounds=10,
    target=None,
    budget=dict(size=500, unit='images'))

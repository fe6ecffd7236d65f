# VOC2007: trainval (5,011 photos) to train on, test (4,952) to evaluate. The
# COCO files are made by
#   python tools/dataset/voc2coco.py data/VOCdevkit/VOC2007 \
#       --split trainval test
# coco/… is COCO's AP, at 101 recalls; pascal_voc/AP50 and AP75 are VOC2007's
# own, at 11 recalls, as tables of papers have them.
_base_ = './ssd300.py'
data_root = 'data/VOCdevkit/'
metainfo = dict(
    classes=('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car',
             'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike',
             'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'))
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/voc2007_trainval.json',
        data_prefix=dict(img='VOC2007/JPEGImages/')))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/voc2007_test.json',
        data_prefix=dict(img='VOC2007/JPEGImages/')))
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file=data_root + 'annotations/voc2007_test.json',
        metric='bbox',
        format_only=False),
    dict(type='VOCMetric', iou_thrs=[0.5, 0.75], eval_mode='11points')
]
test_evaluator = val_evaluator

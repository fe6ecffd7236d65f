# VOC2007: trainval (5,011 photos) to train on, test (4,952) to evaluate. The
# COCO files are made by
#   python tools/dataset/voc2coco.py data/VOCdevkit/VOC2007 \
#       --split trainval test
# The mAP of VOC at IoU 0.5 and 0.75 is bbox_mAP_50 and bbox_mAP_75 here:
# COCO's interpolation at 101 recalls, not VOC2007's at 11, which gives other
# digits.
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

val_evaluator = dict(ann_file=data_root + 'annotations/voc2007_test.json')
test_evaluator = val_evaluator

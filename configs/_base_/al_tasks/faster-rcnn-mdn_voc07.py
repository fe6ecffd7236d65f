# Faster R-CNN with mixtures on VOC2007: 2,000 images, then 3 x 1,000, the
# budget of SSD300 (table 3 of MDN).
_base_ = '../../mdn/faster-rcnn_r50_fpn_mdn_voc07.py'

active_learning = dict(
    data=dict(
        ann_file='annotations/voc2007_trainval.json',
        source='http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (unpacked '
        'into data/VOCdevkit), then python tools/dataset/voc2coco.py '
        'data/VOCdevkit/VOC2007 --split trainval test'),
    initial=dict(size=2000),
    rounds=4,
    budget=dict(size=1000, unit='images'))

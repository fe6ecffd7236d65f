# Plain SSD300 and random images on VOC2007: 2,000, then 3 x 1,000 ("Random" of
# MDN, table 2). The other runs of that table inherit this one.
_base_ = [
    '../_base_/models/ssd300_vgg16.py',
    '../_base_/datasets/voc07_ssd300.py',
    '../_base_/schedules/schedule_120k.py',
    '../_base_/runtime_120k.py',
    '../_base_/active_learning.py',
]

active_learning = dict(
    data=dict(
        ann_file='annotations/voc2007_trainval.json',
        source='http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (unpacked '
        'into data/VOCdevkit), then python tools/dataset/voc2coco.py '
        'data/VOCdevkit/VOC2007 --split trainval test'),
    initial=dict(size=2000),
    rounds=4,
    budget=dict(size=1000, unit='images'))

# Plain SSD300 on VOC2007: 2,000 photos, then 3 x 1,000 (table 2 of MDN).
_base_ = [
    '../models/ssd300_vgg16.py',
    '../datasets/voc07_ssd300.py',
    '../schedules/schedule_120k.py',
    '../runtime_120k.py',
    '../al_protocol.py',
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

# Plain SSD300 on VOC2007 and VOC2012: 2,000 photos, then 8 x 1,000 (tables 8
# and 9 of MDN).
_base_ = [
    '../models/ssd300_vgg16.py',
    '../datasets/voc0712_ssd300.py',
    '../schedules/schedule_120k.py',
    '../runtime_120k.py',
    '../al_protocol.py',
]

active_learning = dict(
    data=dict(
        ann_file='annotations/voc0712_trainval.json',
        source='http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ and voc2012/ '
        '(unpacked into data/VOCdevkit), then python tools/dataset/'
        'voc2coco.py data/VOCdevkit/VOC2007 data/VOCdevkit/VOC2012 '
        '--split trainval --merge voc0712_trainval, and again with '
        'data/VOCdevkit/VOC2007 --split test'),
    initial=dict(size=2000),
    rounds=9,
    budget=dict(size=1000, unit='images'))

# SSD512 with mixtures on VOC2007: 2,000 photos, then 3 x 1,000. The paper has
# no such run; budget and schedule are those of SSD300.
_base_ = [
    '../models/ssd512_vgg16.py',
    '../datasets/voc07_ssd512.py',
    '../schedules/schedule_120k.py',
    '../runtime_120k.py',
    '../al_protocol.py',
]
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

active_learning = dict(
    data=dict(
        ann_file='annotations/voc2007_trainval.json',
        source='http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (unpacked '
        'into data/VOCdevkit), then python tools/dataset/voc2coco.py '
        'data/VOCdevkit/VOC2007 --split trainval test'),
    initial=dict(size=2000),
    rounds=4,
    budget=dict(size=1000, unit='images'))

# Plain SSD300 on COCO: 5,000 photos, then 8 x 1,000 (figure 4a of MDN).
_base_ = [
    '../models/ssd300_vgg16_coco.py',
    '../datasets/coco_ssd300.py',
    '../schedules/schedule_120k.py',
    '../runtime_120k.py',
    '../al_protocol.py',
]

active_learning = dict(
    data=dict(
        ann_file='annotations/instances_train2014.json',
        source='https://cocodataset.org/#download (2014 train and 2017 val '
        'images and annotations, unpacked into data/coco)'),
    initial=dict(size=5000),
    rounds=9,
    budget=dict(size=1000, unit='images'))

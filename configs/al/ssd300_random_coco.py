# Plain SSD300 and random images on COCO: 5,000, then 8 x 1,000 ("Random" of
# MDN, figure 4a). The other runs of that figure inherit this one.
_base_ = [
    '../_base_/models/ssd300_vgg16_coco.py',
    '../_base_/datasets/coco_ssd300.py',
    '../_base_/schedules/schedule_120k.py',
    '../_base_/runtime_120k.py',
    '../_base_/active_learning.py',
]

active_learning = dict(
    data=dict(
        ann_file='annotations/instances_train2014.json',
        source='https://cocodataset.org/#download (2014 train and 2017 val '
        'images and annotations, unpacked into data/coco)'),
    initial=dict(size=5000),
    rounds=9,
    budget=dict(size=1000, unit='images'))

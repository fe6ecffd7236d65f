# ISAL on 2,000 photos of VOC2007, long side 320 px. Meant for a GPU. Where
# they are looked for: the environment variable MMAL_DATA_ROOT, or
# --cfg-options data_root=…
_base_ = [
    '../_base_/models/fcos_efficientnet-lite0_fpn.py',
    '../_base_/datasets/voc07mini_detection.py',
    '../_base_/schedules/schedule_voc07mini.py',
    '../_base_/default_runtime.py',
    '../_base_/active_learning.py',
]

model = dict(bbox_head=dict(num_classes=20))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='the PASCAL VOC2007 test images, as COCO json '
        '(tools/dataset/voc2coco.py)'),
    initial=dict(size=400),
    rounds=6,
    budget=dict(size=200, unit='images'),
    scorer=dict(type='mmal.InfluenceScorer'))

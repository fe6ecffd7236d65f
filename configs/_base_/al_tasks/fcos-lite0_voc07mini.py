# FCOS on 2,000 photos of VOC2007, long side 320 px: 400 photos, then 5 x 200.
# Meant for a GPU. Where they are looked for: the environment variable
# MMAL_DATA_ROOT, or --cfg-options data_root=…
_base_ = [
    '../models/fcos_efficientnet-lite0_fpn.py',
    '../datasets/voc07mini_detection.py',
    '../schedules/schedule_voc07mini.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(bbox_head=dict(num_classes=20))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='the PASCAL VOC2007 test images, as COCO json '
        '(tools/dataset/voc2coco.py)'),
    initial=dict(size=400),
    rounds=6,
    budget=dict(size=200, unit='images'))

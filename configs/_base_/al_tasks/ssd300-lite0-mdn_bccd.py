# SSD300 with mixtures on photos of BCCD: 20 photos, then 3 x 20. Where they
# are looked for: the environment variable MMAL_DATA_ROOT, or --cfg-options
# data_root=…
_base_ = [
    '../models/ssd300_efficientnet-lite0.py',
    '../datasets/bccd_ssd300.py',
    '../schedules/schedule_bccd.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(bbox_head=dict(type='mmal.MDNSSDHead', num_classes=3))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='https://github.com/Shenggan/BCCD_Dataset, as COCO json'),
    initial=dict(size=20),
    rounds=4,
    budget=dict(size=20, unit='images'),
    score_dataloader=dict(batch_size=8, num_workers=0))

# RetinaNet with evidential classes on BCCD, with the images and the schedule
# of fcos-lite0_bccd.py. Where the photos are looked for: the environment
# variable MMAL_DATA_ROOT, or --cfg-options data_root=…
_base_ = [
    '../models/retinanet_efficientnet-lite0_fpn.py',
    '../datasets/bccd_detection.py',
    '../schedules/schedule_bccd.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(
    bbox_head=dict(type='mmal.EvidentialRetinaHead', num_classes=3))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='https://github.com/Shenggan/BCCD_Dataset, as COCO json'),
    initial=dict(size=20),
    rounds=4,
    budget=dict(size=20, unit='images'),
    score_dataloader=dict(batch_size=8, num_workers=0))

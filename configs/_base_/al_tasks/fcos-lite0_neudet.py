# FCOS on NEU-DET, grey images of steel: 60 images, then 3 x 60. Where they are
# looked for: the environment variable MMAL_DATA_ROOT, or --cfg-options
# data_root=…
_base_ = [
    '../models/fcos_efficientnet-lite0_fpn.py',
    '../datasets/neudet_detection.py',
    '../schedules/schedule_400i.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(bbox_head=dict(num_classes=6))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='NEU-DET, the steel surface defects of Northeastern '
        'University, as COCO json'),
    initial=dict(size=60),
    rounds=4,
    budget=dict(size=60, unit='images'),
    score_dataloader=dict(batch_size=8, num_workers=0))

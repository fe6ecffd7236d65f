# The head of FCOS on frozen features of BCCD, real photos of blood cells, at
# 256 x 192: 20 photos, then 3 x 20. Minutes on one CPU core. Where they are
# looked for: the environment variable MMAL_DATA_ROOT, or --cfg-options
# data_root=…
_base_ = [
    '../models/fcos_efficientnet-lite0-cached_fpn_s8-16.py',
    '../datasets/bccd_detection.py',
    '../schedules/schedule_400i.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(bbox_head=dict(num_classes=3))

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (256, 192)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (256, 192)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=400))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='https://github.com/Shenggan/BCCD_Dataset, as COCO json'),
    initial=dict(size=20),
    rounds=4,
    budget=dict(size=20, unit='images'),
    score_dataloader=dict(batch_size=8, num_workers=0))

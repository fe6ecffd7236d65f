# The head of FCOS on frozen features of BCCD, real photos of blood cells, at
# 256 x 192: 20 photos, then 3 x 20. Minutes on one CPU core. Where they are
# looked for: the environment variable MMAL_DATA_ROOT, or --cfg-options
# data_root=…
_base_ = ['../fcos-lite0-cached.py', '../datasets/bccd_detection.py']

model = dict(bbox_head=dict(num_classes=3))

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (256, 192)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (256, 192)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='https://github.com/Shenggan/BCCD_Dataset, as COCO json'),
    initial=dict(size=20),
    budget=dict(size=20, unit='images'))

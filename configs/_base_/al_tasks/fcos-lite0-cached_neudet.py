# The head of FCOS on frozen features of NEU-DET, grey images of steel, at 128
# x 128: 25 images, then 3 x 40. Minutes on one CPU core. Where they are
# looked for: the environment variable MMAL_DATA_ROOT, or --cfg-options
# data_root=…
_base_ = ['../fcos-lite0-cached.py', '../datasets/neudet_detection.py']

model = dict(bbox_head=dict(num_classes=6))

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (128, 128)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (128, 128)
train_dataloader = dict(
    batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='NEU-DET, the steel surface defects of Northeastern '
        'University, as COCO json'),
    initial=dict(size=25),
    budget=dict(size=40, unit='images'))

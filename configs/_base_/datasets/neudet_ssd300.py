# neudet_detection.py with SSD's crops and input, 300 x 300, as in
# bccd_ssd300.py.
_base_ = './neudet_detection.py'
train_pipeline = _base_.train_pipeline
train_pipeline.insert(
    2,
    dict(
        type='MinIoURandomCrop',
        min_ious=(0.3, 0.5, 0.7, 0.9),
        min_crop_size=0.5))
train_pipeline[3].update(scale=(300, 300), keep_ratio=False)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(300, 300), keep_ratio=False)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

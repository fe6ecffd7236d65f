# NEU-DET: surface defects of hot-rolled steel, 1,350 + 450 grey images of
# 200 x 200, six classes. Looked for in $MMAL_DATA_ROOT/neudet, by default
# data/neudet, which holds images/, pool.json and val.json.
_base_ = './bccd_detection.py'
data_root = '{{$MMAL_DATA_ROOT:data}}/neudet/'
metainfo = dict(
    classes=('crazing', 'inclusion', 'patches', 'pitted_surface',
             'rolled-in_scale', 'scratches'))

# as of the photos, at the images' own size
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (200, 200)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (200, 200)

train_dataloader = dict(
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator

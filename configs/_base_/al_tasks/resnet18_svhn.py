# SVHN: 1,465 images, then 9 x 1,465; ResNet-18 as in ISAL, section 4.1.
_base_ = [
    '../models/resnet18_small-image.py',
    '../datasets/svhn.py',
    '../schedules/schedule_200e.py',
    '../runtime_epochs.py',
    '../al_protocol.py',
]

model = dict(
    data_preprocessor=dict(mean={{_base_.mean}}, std={{_base_.std}}),
    cls_head=dict(num_classes=10))
default_hooks = dict(checkpoint=dict(interval=20, max_keep_ckpts=2))

active_learning = dict(
    prepare_data=dict(
        type='mmal.make_svhn',
        source={{_base_.data_source}},
        root={{_base_.data_root}}),
    data=dict(
        ann_file='pool.json',
        source='http://ufldl.stanford.edu/housenumbers'),
    initial=dict(size=1465),
    rounds=10,
    budget=dict(size=1465, unit='images'),
    score_dataloader=dict(batch_size=256, num_workers=4))

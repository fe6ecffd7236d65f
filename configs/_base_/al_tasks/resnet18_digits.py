# A classifier of handwritten digits, a quarter as wide as ResNet-18: 40
# images, then 5 x 40. The digits are made when missing; a few minutes on two
# CPU cores.
_base_ = [
    '../models/resnet18_small-image.py',
    '../datasets/digit_images.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(
    backbone=dict(base_channels=16), cls_head=dict(in_channels=128))

max_iters = 100
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-3, weight_decay=0.01))
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[80],
        gamma=0.1)
]
default_hooks = dict(checkpoint=dict(interval=50))

active_learning = dict(
    prepare_data=dict(
        type='mmal.make_digit_images', root={{_base_.data_root}}),
    data=dict(ann_file='pool.json'),
    initial=dict(size=40),
    rounds=6,
    budget=dict(size=40, unit='images'),
    score_dataloader=dict(batch_size=64, num_workers=0))

# CIFAR-100: 5,000 images, then 9 x 1,000; ResNet-18 as in ISAL, section 4.1.
_base_ = [
    '../models/resnet18_small-image.py',
    '../datasets/cifar100.py',
    '../schedules/schedule_200e.py',
    '../runtime_epochs.py',
    '../al_protocol.py',
]

model = dict(
    data_preprocessor=dict(mean={{_base_.mean}}, std={{_base_.std}}),
    cls_head=dict(num_classes=100))
default_hooks = dict(checkpoint=dict(interval=20, max_keep_ckpts=2))

active_learning = dict(
    prepare_data=dict(
        type='mmal.make_cifar',
        source={{_base_.data_source}},
        root={{_base_.data_root}},
        classes=100),
    data=dict(
        ann_file='pool.json',
        source='https://www.cs.toronto.edu/~kriz/cifar.html'),
    initial=dict(size=5000),
    rounds=10,
    budget=dict(size=1000, unit='images'),
    score_dataloader=dict(batch_size=256, num_workers=4))

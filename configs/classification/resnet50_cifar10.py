# ResNet-50 on CIFAR-10 ("CE" of convBayes' additional experiments): the cross
# entropy of a softmax. All images are labelled.
_base_ = [
    '../_base_/models/resnet18_small-image.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/schedule_200e.py',
    '../_base_/runtime_epochs.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(mean={{_base_.mean}}, std={{_base_.std}}),
    backbone=dict(depth=50),
    cls_head=dict(
        in_channels=2048,
        loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=False)))

# "Focal loss", with RetinaNet's parameters.
_base_ = './resnet50-sigmoid_cifar10.py'
model = dict(
    cls_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='mmdet.FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25)))

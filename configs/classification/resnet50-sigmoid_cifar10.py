# resnet50_cifar10.py with the cross entropy of one sigmoid for each class,
# summed: the loss that focal loss, anchor loss and convBayes change.
_base_ = './resnet50_cifar10.py'
model = dict(cls_head=dict(loss_cls=dict(use_sigmoid=True)))

# "Anchor loss", with the parameters of its paper.
_base_ = './resnet50-sigmoid_cifar10.py'
model = dict(
    cls_head=dict(
        loss_cls=dict(
            _delete_=True, type='mmal.AnchorLoss', use_sigmoid=True)))

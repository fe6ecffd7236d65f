# CIFAR-10 in steps of 5,000 images (appendix E.1).
_base_ = './resnet18_llal_cifar10.py'
active_learning = dict(
    initial=dict(size=5000), budget=dict(size=5000, unit='images'))

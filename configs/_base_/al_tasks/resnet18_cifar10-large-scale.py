# resnet18_cifar10.py in steps of 5,000 images (appendix E.1 of ISAL).
_base_ = './resnet18_cifar10.py'
active_learning = dict(
    initial=dict(size=5000), budget=dict(size=5000, unit='images'))

# "Uncertainty weighted loss (Ours)": a Bayesian branch beside the last layer.
_base_ = './resnet50-sigmoid_cifar10.py'
model = dict(cls_head=dict(type='mmal.BayesClsHead'))

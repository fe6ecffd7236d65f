# "Baseline w/ convBayes": the branch learns, but rescales nothing.
_base_ = './resnet50-convbayes_cifar10.py'
model = dict(cls_head=dict(branch=dict(rescale=False)))

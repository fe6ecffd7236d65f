# Learning loss on every block, from 10,000 images drawn at random; its
# gradient stops before the trunk after 120 epochs (appendix D.1).
_base_ = './resnet18_random_svhn.py'
model = dict(
    type='mmal.LearningLossClassifier',
    loss_head=dict(in_channels=[64, 128, 256, 512], detach=False))
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='mmal.LossHeadDetachHook', epoch=120)
]
active_learning = dict(
    scorer=dict(type='mmal.LearningLossScorer'),
    selector=dict(type='mmal.RandomSubset', size=10000))

# Learning loss on every block, from 10,000 images drawn at random; its
# gradient stops before the trunk after 120 epochs (appendix D.1).
al_method_model = dict(
    type='mmal.LearningLossClassifier',
    loss_head=dict(in_channels=[64, 128, 256, 512], detach=False))
al_method_custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='mmal.LossHeadDetachHook', epoch=120)
]
al_method = dict(
    scorer=dict(type='mmal.LearningLossScorer'),
    selector=dict(type='mmal.RandomSubset', size=10000))

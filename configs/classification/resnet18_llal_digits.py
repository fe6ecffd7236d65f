# Learning loss (Yoo & Kweon, 2019) on every block (appendix D.1).
_base_ = './resnet18_random_digits.py'
model = dict(
    type='mmal.LearningLossClassifier',
    loss_head=dict(in_channels=[16, 32, 64, 128], detach=60))
active_learning = dict(scorer=dict(type='mmal.LearningLossScorer'))

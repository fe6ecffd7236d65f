# Learning loss (Yoo & Kweon, 2019) on every block (appendix D.1), for the
# classifier of digits. Its gradient stops before the classifier from the
# start: on some dozens of images, soon known by heart, the order of their
# losses is noise, which costs a fifth of the accuracy
# (configs/classification/README.md).
al_method_model = dict(
    type='mmal.LearningLossClassifier',
    loss_head=dict(in_channels=[16, 32, 64, 128], detach=True))
al_method = dict(
    scorer=dict(type='mmal.LearningLossScorer'),
    selector=dict(type='mmal.TopN'))

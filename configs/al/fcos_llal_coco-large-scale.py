# Learning loss (Yoo & Kweon, 2019) on all maps of the FPN (appendix D.2).
_base_ = './fcos_random_coco-large-scale.py'
model = dict(type='mmal.LearningLossDetector')
active_learning = dict(scorer=dict(type='mmal.LearningLossScorer'))

# Learning loss (Yoo & Kweon, 2019): images whose loss is predicted large.
_base_ = './ssd300_random_digits.py'
model = dict(type='mmal.LearningLossDetector')
active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.LearningLossScorer'))

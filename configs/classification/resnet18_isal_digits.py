# ISAL: the gradient that is expected for the most probable class (eq. 3).
_base_ = './resnet18_random_digits.py'
active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.InfluenceScorer'))

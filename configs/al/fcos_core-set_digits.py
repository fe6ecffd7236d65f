# Core-set: images far from all labelled ones.
_base_ = './fcos_random_digits.py'
active_learning = dict(selector=dict(type='mmal.CoreSet'))

# Images whose boxes move most under noise (Kao et al., 2018).
_base_ = './fcos_random_coco.py'
active_learning = dict(
    scorer=dict(type='mmal.LocalizationStabilityScorer'))

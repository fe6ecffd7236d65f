# Images whose boxes move most under noise (Kao et al., 2018).
_base_ = './fcos-lite0_random_voc07mini.py'
active_learning = dict(
    scorer=dict(type='mmal.LocalizationStabilityScorer'))

# Random sampling under the settings of fcos_isal_coco-large-scale.py.
_base_ = './fcos_isal_coco-large-scale.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

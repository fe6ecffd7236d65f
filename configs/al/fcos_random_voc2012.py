# Random sampling under the settings of fcos_isal_voc2012.py.
_base_ = './fcos_isal_voc2012.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

# The baseline of fcos-lite0_isal_voc07mini.py: images drawn at random.
_base_ = './fcos-lite0_isal_voc07mini.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

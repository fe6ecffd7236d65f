# The baseline of fcos_isal_digits.py: images drawn at random.
_base_ = './fcos_isal_digits.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

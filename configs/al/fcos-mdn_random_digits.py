# The baseline of fcos-mdn_mixture_digits.py: images drawn at random.
_base_ = './fcos-mdn_mixture_digits.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

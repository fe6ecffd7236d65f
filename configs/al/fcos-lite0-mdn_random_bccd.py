# The baseline of fcos-lite0-mdn_mixture_bccd.py: images drawn at random.
_base_ = './fcos-lite0-mdn_mixture_bccd.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

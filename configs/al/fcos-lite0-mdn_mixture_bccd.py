# The four uncertainties of FCOS with mixtures choose photos of BCCD. Where
# they are looked for: the environment variable MMAL_DATA_ROOT, or
# --cfg-options data_root=…
_base_ = './fcos-lite0_isal_bccd.py'

model = dict(bbox_head=dict(type='mmal.MDNFCOSHead'))

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.MixtureUncertaintyScorer'))

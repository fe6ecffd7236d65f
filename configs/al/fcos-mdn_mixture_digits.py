# The four uncertainties of FCOS with mixtures choose scenes of handwritten
# digits. Minutes on two CPU cores.
_base_ = './fcos_isal_digits.py'

model = dict(bbox_head=dict(type='mmal.MDNFCOSHead'))

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.MixtureUncertaintyScorer'))

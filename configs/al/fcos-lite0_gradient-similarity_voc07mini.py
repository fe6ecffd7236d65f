# ISAL without the Hessian (Gradient Similarity, section 4.4.2).
_base_ = './fcos-lite0_isal_voc07mini.py'
active_learning = dict(
    scorer=dict(solver=dict(type='mmal.Identity')))

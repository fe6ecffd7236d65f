# ISAL without the Hessian (Gradient Similarity, section 4.4.2).
_base_ = './fcos_isal_digits.py'
active_learning = dict(
    scorer=dict(solver=dict(type='mmal.Identity')))

# Gradient Similarity: ISAL without a Hessian (section 4.4.2).
_base_ = './resnet18_isal_digits.py'
active_learning = dict(scorer=dict(solver=dict(type='mmal.Identity')))

# default_runtime.py for long trainings, which end where the loss is NaN or, as
# in the reference of MDN, above 100.
_base_ = './default_runtime.py'
default_hooks = dict(checkpoint=dict(interval=10000))
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='mmal.LossLimitHook', max_loss=100.0),
    # a run of active learning has looked at these iterations before
    dict(type='CheckInvalidLossHook', interval=100, priority='VERY_LOW')
]

# default_runtime.py for long trainings. The loss is looked at more often, and
# with a better message, in runs of active learning.
_base_ = './default_runtime.py'
default_hooks = dict(checkpoint=dict(interval=10000))
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=100, priority='VERY_LOW')
]

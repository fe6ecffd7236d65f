# What the tasks fcos-lite0-cached_* share: the head of FCOS on frozen
# features, 400 iterations a round, four rounds. Data, the size of images and
# the numbers of images are each task's own.
_base_ = [
    'models/fcos_efficientnet-lite0-cached_fpn_s8-16.py',
    'schedules/schedule_400i.py',
    'default_runtime.py',
    'al_protocol.py',
]

# one checkpoint a round, at its end
default_hooks = dict(checkpoint=dict(interval=400))
active_learning = dict(
    rounds=4, score_dataloader=dict(batch_size=8, num_workers=0))

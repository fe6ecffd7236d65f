# The second embedded demo: MDN's four uncertainties on scenes of handwritten
# digits, with SSD300's design cut to images of 128 px. Minutes on two CPU
# cores.
_base_ = [
    '../_base_/models/ssd128_efficientnet-lite0.py',
    '../_base_/datasets/digits_detection.py',
    '../_base_/schedules/schedule_20e.py',
    '../_base_/default_runtime.py',
    '../_base_/active_learning.py',
]

model = dict(bbox_head=dict(type='mmal.MDNSSDHead', num_classes=10))

train_dataloader = dict(sampler=dict(type='DefaultSampler'))
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=5))
log_processor = dict(by_epoch=True)

active_learning = dict(
    prepare_data=dict(type='mmal.make_digits', root={{_base_.data_root}}),
    data=dict(ann_file='pool.json'),
    initial=dict(size=60),
    rounds=4,
    budget=dict(size=60, unit='images'),
    scorer=dict(type='mmal.MixtureUncertaintyScorer'),
    score_dataloader=dict(batch_size=8, num_workers=0))

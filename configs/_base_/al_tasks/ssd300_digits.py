# SSD300's design cut to images of 128 px, on scenes of handwritten digits,
# which are made when missing: 60 images, then 3 x 60. Minutes on two CPU
# cores.
_base_ = [
    '../models/ssd128_efficientnet-lite0.py',
    '../datasets/digits_detection.py',
    '../schedules/schedule_20e.py',
    '../default_runtime.py',
    '../al_protocol.py',
]

model = dict(bbox_head=dict(num_classes=10))

train_dataloader = dict(sampler=dict(type='DefaultSampler'))
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=5))
log_processor = dict(by_epoch=True)

active_learning = dict(
    prepare_data=dict(type='mmal.make_digits', root={{_base_.data_root}}),
    data=dict(ann_file='pool.json'),
    initial=dict(size=60),
    rounds=4,
    budget=dict(size=60, unit='images'),
    score_dataloader=dict(batch_size=8, num_workers=0))

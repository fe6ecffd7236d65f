# 30 photos of handwritten digits that nobody has labelled: people are asked
# for 10 at random, then for 10 that the detector chooses. Paths are relative
# to the folder that the run starts in.
_base_ = ['../configs/_base_/al_tasks/fcos_digits.py',
          '../configs/_base_/al_methods/isal.py']

train_dataloader = dict(
    dataset=dict(
        data_root='', ann_file='photos.json', data_prefix=dict(img='photos/')))
val_dataloader = dict(dataset=dict(data_root='known/'))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='known/val.json')
test_evaluator = val_evaluator

active_learning = dict(
    prepare_data=None,
    data=dict(ann_file='photos.json'),
    initial=dict(size=10),
    rounds=2,
    budget=dict(size=10, unit='images'),
    oracle=dict(type='mmal.ManualOracle'),
    **_base_.pop('al_method'))

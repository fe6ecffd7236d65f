# The keys of active learning that do not belong to a method, and their
# defaults; docs/config.md explains them. A config must add `data` and
# `initial`:
#   data=dict(ann_file='annotations/instances_train2017.json')
#       COCO json of the full pool, under train_dataloader's data_root
#   initial=dict(size=5000), drawn at random, or dict(ann_file='first.json')
# and may add a metric that ends the run:
#   target=dict(metric='coco/bbox_mAP', value=0.22)
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

active_learning = dict(
    # Trainings. The last one makes no query.
    rounds=10,
    # What one query may label; unit is 'images', 'boxes' or
    # 'seconds'.
    budget=dict(size=500, unit='images'),
    # Gives the annotations: from the pool's json, as if people had labelled.
    oracle=dict(type='mmal.CocoOracle'),
    # Of the first images, of the scores and of every training.
    seed=0,
    # An unreadable image of the pool: 'raise', or 'skip' to set it aside.
    on_bad_image='raise',
    # A resume with other processes, threads, workers or versions: 'note', or
    # 'refuse' it.
    on_new_environment='note',
    # Of the forward passes of scoring: 'fp32', 'tf32' or 'bf16'.
    score_precision='fp32',
    score_dataloader=dict(batch_size=8, num_workers=2))

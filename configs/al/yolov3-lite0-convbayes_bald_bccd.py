# The BALD of YOLOv3's Bayesian branch chooses photos of BCCD. Where they are
# looked for: the environment variable MMAL_DATA_ROOT, or --cfg-options
# data_root=…
_base_ = [
    '../_base_/models/yolov3_efficientnet-lite0.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/schedule_400i.py',
    '../_base_/default_runtime.py',
    '../_base_/active_learning.py',
]

model = dict(bbox_head=dict(type='mmal.BayesYOLOV3Head', num_classes=3))

active_learning = dict(
    data=dict(
        ann_file='pool.json',
        source='https://github.com/Shenggan/BCCD_Dataset, as COCO json'),
    initial=dict(size=20),
    rounds=4,
    budget=dict(size=20, unit='images'),
    scorer=dict(type='mmal.BALDScorer'),
    score_dataloader=dict(batch_size=8, num_workers=0))

# MI of 25 passes with dropout on the maps of the pyramid ("MC-Dropout").
_base_ = './retinanet_random_coco.py'
model = dict(neck=dict(type='mmal.DropoutFPN', dropout=0.1))
active_learning = dict(
    scorer=dict(
        type='mmal.MutualInformationScorer',
        aggregation='max',
        classes='separate'),
    committee=dict(type='mmal.DropoutCommittee', passes=25))

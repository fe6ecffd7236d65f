# The largest variance of a gradient over six detectors ("Grad, Max.").
_base_ = './retinanet_random_coco.py'
active_learning = dict(
    scorer=dict(type='mmal.GradScorer', aggregation='max'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

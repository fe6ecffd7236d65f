# The largest entropy of a detection ("Det-Ent, Max.").
_base_ = './retinanet_random_coco.py'
active_learning = dict(
    scorer=dict(type='mmal.DetectionEntropyScorer', aggregation='max'))

# The sum of the entropies of all detections ("Det-Ent, Sum").
_base_ = './retinanet_det-ent-max_coco.py'
active_learning = dict(scorer=dict(aggregation='sum'))

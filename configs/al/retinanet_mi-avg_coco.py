# The average disagreement of six detectors ("MI, Avg.").
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(scorer=dict(aggregation='mean'))

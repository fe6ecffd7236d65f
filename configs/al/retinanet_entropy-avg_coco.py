# Their average entropy ("Entropy, Avg.").
_base_ = './retinanet_entropy-max_coco.py'
active_learning = dict(scorer=dict(aggregation='mean'))

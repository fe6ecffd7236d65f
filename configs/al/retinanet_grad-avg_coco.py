# The mean variance of the gradients ("Grad, Avg.").
_base_ = './retinanet_grad-max_coco.py'
active_learning = dict(scorer=dict(aggregation='mean'))

# A query for 1,400 images ("random" of table III).
_base_ = './retinanet_random_coco.py'
active_learning = dict(budget=dict(size=1400))

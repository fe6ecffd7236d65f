# A query for 1,400 images ("Top-N" of table III).
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(budget=dict(size=1400))

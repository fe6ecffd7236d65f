# retinanet_coco.py with one query for 1,400 images (table III of Scalable AL).
_base_ = './retinanet_coco.py'
active_learning = dict(budget=dict(size=1400))

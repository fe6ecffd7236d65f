# retinanet_coco.py trained once, on all images ("full dataset" of table IV of
# Scalable AL). There is no query, so any method will do.
_base_ = './retinanet_coco.py'
active_learning = dict(initial=dict(size=118287), rounds=1)

# retinanet_coco.py with three queries for 28,000 images (table IV of Scalable
# AL).
_base_ = './retinanet_coco.py'
active_learning = dict(rounds=4)

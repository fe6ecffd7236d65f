# Three queries for 28,000 images by six detectors, trained again in every
# round but the last ("AL" of table IV).
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(rounds=4)

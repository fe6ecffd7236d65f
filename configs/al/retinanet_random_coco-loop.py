# Three queries for 28,000 images ("random" of table IV).
_base_ = './retinanet_random_coco.py'
active_learning = dict(rounds=4)

# The same with cosine distances ("CS, DN, cosine").
_base_ = './retinanet_core-set-euclidean_coco-small.py'
active_learning = dict(selector=dict(distance='cosine'))

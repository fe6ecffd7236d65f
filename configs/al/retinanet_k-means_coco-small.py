# k-means++ weighted by the score ("KMPP, DN, Eucl.").
_base_ = './retinanet_mi-max_coco-small.py'
active_learning = dict(selector=dict(type='mmal.KMeansPlusPlus'))

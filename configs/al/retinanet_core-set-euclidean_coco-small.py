# Far from all labelled images, weighted by the score ("CS, DN, Eucl.").
_base_ = './retinanet_mi-max_coco-small.py'
active_learning = dict(
    selector=dict(type='mmal.CoreSet', weighted=True, distance='euclidean'))

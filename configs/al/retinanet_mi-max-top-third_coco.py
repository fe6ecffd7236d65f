# Drawn from the third with the highest scores ("top-third").
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(selector=dict(type='mmal.TopThird'))

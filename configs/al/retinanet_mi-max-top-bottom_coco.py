# Half of the highest, half of the lowest scores ("top-N/2-bottom-N/2").
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(selector=dict(type='mmal.TopBottom'))

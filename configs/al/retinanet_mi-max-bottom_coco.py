# The images with the lowest scores ("bottom-N").
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(selector=dict(type='mmal.BottomN'))

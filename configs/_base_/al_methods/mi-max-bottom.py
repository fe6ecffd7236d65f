# The images with the lowest scores ("bottom-N" of table II).
_base_ = './mi-max.py'
al_method = dict(selector=dict(type='mmal.BottomN'))

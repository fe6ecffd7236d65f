# Drawn from the third with the highest scores ("top-third" of table II).
_base_ = './mi-max.py'
al_method = dict(selector=dict(type='mmal.TopThird'))

# Half of the highest, half of the lowest scores ("top-N/2-bottom-N/2").
_base_ = './mi-max.py'
al_method = dict(selector=dict(type='mmal.TopBottom'))

# Far from all labelled images, weighted by the score of mi-max.py ("CS, DN,
# Eucl.").
_base_ = './mi-max.py'
al_method = dict(
    selector=dict(type='mmal.CoreSet', weighted=True, distance='euclidean'))

# k-means++ weighted by the score of mi-max.py ("KMPP, DN, Eucl.").
_base_ = './mi-max.py'
al_method = dict(selector=dict(type='mmal.KMeansPlusPlus'))

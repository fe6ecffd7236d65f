# Sparse modelling of the scores of mi-max.py ("OMP, DN, cosine").
_base_ = './mi-max.py'
al_method = dict(
    selector=dict(type='mmal.SparseModeling', distance='cosine'))

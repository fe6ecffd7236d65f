# Sparse modelling of the scores of mi-max.py ("OMP, DN, Eucl.").
_base_ = './mi-max.py'
al_method = dict(
    selector=dict(type='mmal.SparseModeling', distance='euclidean'))

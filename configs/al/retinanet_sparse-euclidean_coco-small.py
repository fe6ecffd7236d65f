# Sparse modelling of the scores by euclidean distances ("OMP, DN, Eucl.").
_base_ = './retinanet_mi-max_coco-small.py'
active_learning = dict(
    selector=dict(type='mmal.SparseModeling', distance='euclidean'))

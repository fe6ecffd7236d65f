# Sparse modelling of the scores by cosine similarity ("OMP, DN, cosine").
_base_ = './retinanet_sparse-euclidean_coco-small.py'
active_learning = dict(selector=dict(distance='cosine'))

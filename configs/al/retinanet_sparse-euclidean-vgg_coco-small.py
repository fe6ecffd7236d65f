# Sparse modelling with embeddings of VGG16 ("OMP, VGG, Eucl.").
_base_ = './retinanet_core-set-euclidean-vgg_coco-small.py'
active_learning = dict(
    selector=dict(
        _delete_=True, type='mmal.SparseModeling', distance='euclidean'))

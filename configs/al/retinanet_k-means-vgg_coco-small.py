# k-means++ weighted by the score, embeddings of VGG16 ("KMPP, VGG, Eucl.").
_base_ = './retinanet_core-set-euclidean-vgg_coco-small.py'
active_learning = dict(
    selector=dict(_delete_=True, type='mmal.KMeansPlusPlus'))

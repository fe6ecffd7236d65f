# The images nearest to the centres of clusters, by embeddings of a network
# from ImageNet that is never trained.
_base_ = '../models/efficientnet-lite0_embedder.py'
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.KMeansCentres'),
    embedder=_base_.pop('embedder'))

# TypiClust (Hacohen et al., 2022): the most typical image of each cluster, by
# embeddings of a network from ImageNet that is never trained.
_base_ = '../models/efficientnet-lite0_embedder.py'
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.TypiClust'),
    embedder=_base_.pop('embedder'))

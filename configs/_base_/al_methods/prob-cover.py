# ProbCover (Yehuda et al., 2022): balls that cover as many images as possible,
# by embeddings of a network from ImageNet that is never trained.
_base_ = '../models/efficientnet-lite0_embedder.py'
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.ProbCover'),
    embedder=_base_.pop('embedder'))

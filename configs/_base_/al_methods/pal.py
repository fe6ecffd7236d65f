# PAL (Sharma et al., 2026): a budget for each class, the larger the rarer it
# is, and for each class images whose detections may be right or wrong, as the
# labelled images teach it, and which are unlike each other by embeddings of a
# network from ImageNet that is never trained.
_base_ = '../models/efficientnet-lite0_embedder.py'
al_method = dict(
    scorer=dict(type='mmal.LogisticUncertaintyScorer'),
    selector=dict(type='mmal.ClassBudgets'),
    embedder=_base_.pop('embedder'))

# CDAL (Agarwal et al., 2020): greedy k-center from the labelled images, by
# how differently the classes of two images are confused with others.
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.ContextualDiversity'),
    embedder=dict(type='mmal.ClassDistributionEmbedder'))

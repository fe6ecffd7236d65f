# BADGE (Ash et al., 2020): k-means++ on the gradients of the last layers for
# the detections as labels, beginning with the longest.
al_method = dict(
    scorer=dict(type='mmal.GradientEmbeddingScorer'),
    selector=dict(type='mmal.KMeansPlusPlus', start='best', weighted=False))

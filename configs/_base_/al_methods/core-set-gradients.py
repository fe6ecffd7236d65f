# Core-set on gradients: images whose gradients are far from those of all
# labelled ones.
al_method = dict(
    scorer=dict(type='mmal.GradientEmbeddingScorer'),
    selector=dict(type='mmal.CoreSet'))

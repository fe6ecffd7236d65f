# Entropy of one detector, averaged over positions and classes.
al_method = dict(
    scorer=dict(type='mmal.EntropyScorer', classes='separate'),
    selector=dict(type='mmal.TopN'))

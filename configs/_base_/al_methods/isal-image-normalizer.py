# ISAL with each image's loss divided by its own positives, as the paper reads.
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer', normalizer='image'),
    selector=dict(type='mmal.TopN'))

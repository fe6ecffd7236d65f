# ISAL without the Hessian (Gradient Similarity, section 4.4.2).
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer', solver=dict(type='mmal.Identity')),
    selector=dict(type='mmal.TopN'))

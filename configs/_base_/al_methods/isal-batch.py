# ISAL where each image counts beside those that are already chosen: their
# training will have moved the gradient of the validation loss.
al_method = dict(
    scorer=dict(
        type='mmal.GradientEmbeddingScorer',
        reference='val',
        solver=dict(type='mmal.DefaultSolver')),
    selector=dict(type='mmal.BatchInfluence'))

# Gradient matching (as GRAD-MATCH, Killamsetty et al., 2021): images whose
# gradients add up to that of the loss on the validation set.
al_method = dict(
    scorer=dict(type='mmal.GradientEmbeddingScorer', reference='val'),
    selector=dict(type='mmal.GradientMatching'))

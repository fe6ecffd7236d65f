# The score of AL-SSL (Elezi et al., 2022): the largest entropy of an image's
# detections times the largest inconsistency with the mirror image.
al_method = dict(
    scorer=dict(type='mmal.FlipInconsistencyScorer'),
    selector=dict(type='mmal.TopN'))

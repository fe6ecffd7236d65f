# The largest variance of a gradient over six detectors ("Grad, Max.").
al_method = dict(
    scorer=dict(type='mmal.GradScorer', aggregation='max'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

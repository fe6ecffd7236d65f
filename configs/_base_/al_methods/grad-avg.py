# The mean variance of the gradients over six detectors ("Grad, Avg.").
al_method = dict(
    scorer=dict(type='mmal.GradScorer', aggregation='mean'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

# The largest entropy of the probabilities of six detectors ("Entropy, Max.").
al_method = dict(
    scorer=dict(
        type='mmal.EntropyScorer', aggregation='max', classes='separate'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

# The average entropy of the probabilities of six detectors ("Entropy, Avg.").
al_method = dict(
    scorer=dict(
        type='mmal.EntropyScorer', aggregation='mean', classes='separate'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

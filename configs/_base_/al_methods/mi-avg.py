# The average disagreement of six detectors ("MI, Avg.").
al_method = dict(
    scorer=dict(
        type='mmal.MutualInformationScorer',
        aggregation='mean',
        classes='separate'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

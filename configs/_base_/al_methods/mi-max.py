# Where six detectors disagree most about one class at one place ("MI, Max.",
# and "top-N" of table II). All six are trained before the query.
al_method = dict(
    scorer=dict(
        type='mmal.MutualInformationScorer',
        aggregation='max',
        classes='separate'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

# Where three detectors disagree most about one class at one place. All three
# are trained in every round but the last.
al_method = dict(
    scorer=dict(
        type='mmal.MutualInformationScorer',
        aggregation='max',
        classes='separate'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=3))

# MI-ensemble: where three detectors disagree most about a class at a place.
# All three are trained in every round but the last.
_base_ = './fcos_random_digits.py'
active_learning = dict(
    committee=dict(type='mmal.EnsembleCommittee', size=3),
    scorer=dict(
        _delete_=True,
        type='mmal.MutualInformationScorer',
        aggregation='max',
        classes='separate'))

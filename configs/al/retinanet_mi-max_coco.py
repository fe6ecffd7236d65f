# Where six detectors disagree most about one class at one place ("MI, Max.",
# and "top-N" of table II). All six are trained before the query.
_base_ = './retinanet_random_coco.py'
active_learning = dict(
    scorer=dict(
        type='mmal.MutualInformationScorer',
        aggregation='max',
        classes='separate'),
    committee=dict(type='mmal.EnsembleCommittee', size=6))

# Ensemble: the entropy of three SSDs trained in each round.
_base_ = './ssd300_random_digits.py'
active_learning = dict(
    committee=dict(type='mmal.EnsembleCommittee', size=3),
    scorer=dict(_delete_=True, type='mmal.EntropyScorer'))

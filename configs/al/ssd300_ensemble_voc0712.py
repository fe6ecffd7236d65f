# The average entropy of three detectors chooses ("Ensemble"). All of them are
# trained in every round.
_base_ = './ssd300_random_voc0712.py'
active_learning = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    committee=dict(type='mmal.EnsembleCommittee', size=3))

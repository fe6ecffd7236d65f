# The average entropy of four detectors chooses ("Ensemble"). All of them are
# trained in every round.
_base_ = './ssd300_random_coco.py'
active_learning = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    committee=dict(type='mmal.EnsembleCommittee', size=4))

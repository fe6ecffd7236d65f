# The average entropy of four detectors ("Ensemble" of MDN). All of them are
# trained in every round.
al_method = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.EnsembleCommittee', size=4))

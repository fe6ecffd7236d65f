# The BALD of the Bayesian branch beside YOLOv3's objectness. The slides of
# convBayes select nothing; see docs/scorers.md.
al_method = dict(
    scorer=dict(type='mmal.BALDScorer'),
    selector=dict(type='mmal.TopN'))

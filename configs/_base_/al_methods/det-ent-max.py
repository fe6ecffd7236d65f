# The largest entropy of a detection ("Det-Ent, Max.").
al_method = dict(
    scorer=dict(type='mmal.DetectionEntropyScorer', aggregation='max'),
    selector=dict(type='mmal.TopN'))

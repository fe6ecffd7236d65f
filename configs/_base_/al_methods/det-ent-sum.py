# The sum of the entropies of all detections ("Det-Ent, Sum").
al_method = dict(
    scorer=dict(type='mmal.DetectionEntropyScorer', aggregation='sum'),
    selector=dict(type='mmal.TopN'))

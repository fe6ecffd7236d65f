# The entropy of the detections of one detector.
al_method = dict(
    scorer=dict(type='mmal.DetectionEntropyScorer'),
    selector=dict(type='mmal.TopN'))

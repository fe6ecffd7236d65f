# The entropy of the detections, as sure as plain SSD is of its classes.
al_method = dict(
    scorer=dict(type='mmal.DetectionEntropyScorer'),
    selector=dict(type='mmal.TopN'))

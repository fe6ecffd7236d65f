# The entropy of the detections, as sure as plain SSD is of its classes.
_base_ = './ssd300_random_digits.py'
active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.DetectionEntropyScorer'))

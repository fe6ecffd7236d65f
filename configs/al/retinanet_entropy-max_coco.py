# The largest entropy of the probabilities of six detectors ("Entropy, Max.").
_base_ = './retinanet_mi-max_coco.py'
active_learning = dict(scorer=dict(type='mmal.EntropyScorer'))

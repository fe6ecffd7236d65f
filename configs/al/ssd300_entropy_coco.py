# The average entropy of the classes of all anchors chooses ("Entropy").
_base_ = './ssd300_random_coco.py'
active_learning = dict(scorer=dict(type='mmal.EntropyScorer'))

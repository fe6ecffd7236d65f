# The largest of the four uncertainties chooses ("Ours").
_base_ = './ssd300-mdn_random_coco.py'
active_learning = dict(scorer=dict(type='mmal.MixtureUncertaintyScorer'))

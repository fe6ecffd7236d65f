# Random images for the mixture network ("Random_mix" of the paper).
_base_ = './ssd300-lite0-mdn_voc07mini.py'
active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

# MC-dropout: the entropy of 25 passes with dropout in SSD's extra layers.
_base_ = './ssd300_random_digits.py'
model = dict(neck=dict(type='mmal.DropoutSSDNeck', dropout=0.1))
active_learning = dict(
    committee=dict(type='mmal.DropoutCommittee', passes=25),
    scorer=dict(_delete_=True, type='mmal.EntropyScorer'))

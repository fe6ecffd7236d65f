# The average entropy of 25 passes with dropout chooses ("MC-dropout").
_base_ = './ssd300_random_voc07.py'
model = dict(neck=dict(type='mmal.DropoutSSDNeck', dropout=0.1))
active_learning = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    committee=dict(type='mmal.DropoutCommittee', passes=25))

# The average entropy of 25 passes with dropout chooses ("MC-dropout"). Table
# 9 has it with 50 as well:
#   --cfg-options active_learning.committee.passes=50
_base_ = './ssd300_random_voc0712.py'
model = dict(neck=dict(type='mmal.DropoutSSDNeck', dropout=0.1))
active_learning = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    committee=dict(type='mmal.DropoutCommittee', passes=25))

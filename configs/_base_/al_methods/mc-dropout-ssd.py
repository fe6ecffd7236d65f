# The average entropy of 25 passes with dropout in SSD's extra layers
# ("MC-dropout" of MDN). Table 9 has it with 50 as well:
#   --cfg-options active_learning.committee.passes=50
# The paper counts six convolutions; SSD300's extra layers have eight, and it
# does not say which are meant. Here the last six have dropout.
al_method_model = dict(
    neck=dict(type='mmal.DropoutSSDNeck', dropout=0.1, dropout_layers=6))
al_method = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.DropoutCommittee', passes=25))

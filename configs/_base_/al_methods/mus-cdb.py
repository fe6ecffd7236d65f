# The uncertainty of MUS-CDB (Liang et al., 2023) with its class shares as
# weights: uncertain detections count more, the rarer their class is labelled.
al_method = dict(
    scorer=dict(type='mmal.ClassBalanceScorer'),
    selector=dict(type='mmal.TopN'))

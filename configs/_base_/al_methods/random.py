# Images drawn at random, the baseline of all others.
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.TopN'))

# The images of highest entropy, four times as many as will be labelled, and of
# these the ones unlike each other and all labelled ones (core-set).
al_method = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    selector=dict(
        type='mmal.TwoStage',
        first=dict(type='mmal.TopN'),
        then=dict(type='mmal.CoreSet'),
        keep=4.))

# MI of 25 passes with dropout on the maps of the pyramid ("MC-Dropout").
al_method_model = dict(neck=dict(type='mmal.DropoutFPN', dropout=0.1))
al_method = dict(
    scorer=dict(
        type='mmal.MutualInformationScorer',
        aggregation='max',
        classes='separate'),
    selector=dict(type='mmal.TopN'),
    committee=dict(type='mmal.DropoutCommittee', passes=25))

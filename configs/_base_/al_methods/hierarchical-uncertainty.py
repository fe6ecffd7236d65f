# Images of whose objects the model knows least (Park et al., 2023).
al_method = dict(
    scorer=dict(type='mmal.HierarchicalUncertaintyScorer'),
    selector=dict(type='mmal.TopN'))

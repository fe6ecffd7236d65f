# Images whose boxes move most under noise (Kao et al., 2018).
al_method = dict(
    scorer=dict(type='mmal.LocalizationStabilityScorer'),
    selector=dict(type='mmal.TopN'))

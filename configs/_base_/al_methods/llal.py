# Learning loss (Yoo & Kweon, 2019) on all maps that the detector's head reads:
# images whose loss is predicted large (appendix D.2 of ISAL).
al_method_model = dict(type='mmal.LearningLossDetector')
al_method = dict(
    scorer=dict(type='mmal.LearningLossScorer'),
    selector=dict(type='mmal.TopN'))

# isal-classifier.py with all labelled images as the reference set (ISAL_v3 of
# section 4.4.3 and table 3).
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer', hessian_images=250, reference='labelled'),
    selector=dict(type='mmal.TopN'))

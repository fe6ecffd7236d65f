# isal-classifier.py with the first labelled images as the reference set
# (ISAL_v2 of section 4.4.3 and table 3).
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer', hessian_images=250, reference='initial'),
    selector=dict(type='mmal.TopN'))

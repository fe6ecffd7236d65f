# isal.py with the first labelled images as the reference set (ISAL_v2 of
# section 4.4.3): no labels but those of training are used.
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer', reference='initial'),
    selector=dict(type='mmal.TopN'))

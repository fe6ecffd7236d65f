# isal.py with all labelled images as the reference set (ISAL_v3 of section
# 4.4.3): no labels but those of training are used.
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer', reference='labelled'),
    selector=dict(type='mmal.TopN'))

# The average of 1 - margin of the two most probable outcomes of all anchors;
# with sigmoid heads the order is that of the least confidence.
al_method = dict(
    scorer=dict(type='mmal.MarginScorer'),
    selector=dict(type='mmal.TopN'))

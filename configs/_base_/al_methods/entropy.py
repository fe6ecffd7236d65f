# The average entropy of the classes of all anchors ("Entropy" of MDN).
al_method = dict(
    scorer=dict(type='mmal.EntropyScorer'),
    selector=dict(type='mmal.TopN'))

# Core-set (Sener & Savarese, 2018): images far from all labelled ones, by what
# the last layer of the backbone gives.
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.CoreSet'))

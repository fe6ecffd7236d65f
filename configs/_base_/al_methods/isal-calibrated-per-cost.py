# ISAL calibrated on the validation set's own labels, for what an image is
# expected to cost (the budget's: with unit='boxes' its boxes).
al_method = dict(
    scorer=dict(
        type='mmal.PerCostScorer',
        scorer=dict(type='mmal.CalibratedInfluenceScorer')),
    selector=dict(type='mmal.TopN'))

# ISAL: the images whose expected gradients would lower the loss on the
# validation set most, over the layers that give the model's outputs.
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer'),
    selector=dict(type='mmal.TopN'))

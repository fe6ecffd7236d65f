# ENMS and DivProto (Wu et al., 2022): the highest sums of entropies of unlike
# detections, without images like those taken, and with a quota of images that
# show minority classes.
al_method = dict(
    scorer=dict(type='mmal.EntropyNMSScorer'),
    selector=dict(type='mmal.DiversePrototypes'))

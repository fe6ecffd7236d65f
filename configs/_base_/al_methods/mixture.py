# The largest of the four uncertainties of mixtures ("Ours" of MDN).
al_method = dict(
    scorer=dict(type='mmal.MixtureUncertaintyScorer'),
    selector=dict(type='mmal.TopN'))

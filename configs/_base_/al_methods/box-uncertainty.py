# The largest variance of a box, where boxes are single Gaussians
# ("Box-uncertainty" of MDN; Choi et al., 2019).
al_method = dict(
    scorer=dict(
        type='mmal.MixtureUncertaintyScorer',
        uncertainties=('box_aleatoric', )),
    selector=dict(type='mmal.TopN'))

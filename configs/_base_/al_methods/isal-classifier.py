# ISAL with K = 1 (eq. 3) over the last layer; 250 labelled images stand for
# all in the Hessian, the test set is the reference set (section 4.1).
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer', hessian_images=250),
    selector=dict(type='mmal.TopN'))

# isal-classifier.py with K = 2: the gradients for the 2 most probable classes,
# each times its probability (section 4.4.1 and table 1).
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer', hessian_images=250, top_k=2),
    selector=dict(type='mmal.TopN'))

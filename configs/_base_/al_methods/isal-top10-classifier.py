# isal-classifier.py with K = 10 (section 4.4.1 and table 1). Of ten classes
# these are all: with a softmax their gradients add up to zero but for
# rounding, and the order of the images is noise.
al_method = dict(
    scorer=dict(type='mmal.InfluenceScorer', hessian_images=250, top_k=10),
    selector=dict(type='mmal.TopN'))

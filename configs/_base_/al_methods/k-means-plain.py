# k-means++ (Arthur & Vassilvitskii, 2007) by distances alone, which counts the
# labelled images among the centres; by what the last layer of the backbone
# gives.
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(
        type='mmal.KMeansPlusPlus', start='labelled', weighted=False))

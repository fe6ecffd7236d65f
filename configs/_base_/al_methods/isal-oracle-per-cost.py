# An experiment on pools with labels: ISAL with the true labels of each image,
# for what the image is expected to cost. A run sets scorer.scorer.ann_file,
# the COCO json with all labels of the pool.
al_method = dict(
    scorer=dict(
        type='mmal.PerCostScorer',
        scorer=dict(type='mmal.OracleInfluenceScorer', ann_file='')),
    selector=dict(type='mmal.TopN'))

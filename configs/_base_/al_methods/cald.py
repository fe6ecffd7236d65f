# CALD (Yu et al., 2022): 1.2 times as many images as are asked for, whose
# detections agree little with those of changed copies, and of these the ones
# of other classes than those labelled so far.
al_method = dict(
    scorer=dict(type='mmal.ConsistencyScorer'),
    selector=dict(
        type='mmal.TwoStage',
        keep=1.2,
        first=dict(type='mmal.TopN'),
        then=dict(type='mmal.Quota', shares=dict(class_distance=1))))

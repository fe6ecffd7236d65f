# PPAL (Yang et al., 2024): four times as many images as are asked for, by the
# entropies of their detections times the difficulty of the classes, and of
# these the medoids of clusters of images whose objects look alike.
al_method_custom_hooks = [dict(type='mmal.ClassDifficultyHook')]
al_method = dict(
    scorer=dict(type='mmal.DifficultyCalibratedScorer'),
    selector=dict(
        type='mmal.TwoStage',
        keep=4.0,
        first=dict(type='mmal.TopN'),
        then=dict(type='mmal.CategoryMatching')))

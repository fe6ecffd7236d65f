# Images far from all labelled ones are chosen ("Core-set").
_base_ = './ssd300_random_voc0712.py'
active_learning = dict(selector=dict(type='mmal.CoreSet'))

# Person and bicycle choose in turn where eight detectors disagree most about
# them (table V of Scalable AL). The paper names no score: MI, maximum, is the
# one it recommends, here of one class at a time.
_base_ = './mi-max.py'
al_method = dict(
    selector=dict(
        type='mmal.RoundRobin',
        selector=dict(type='mmal.TopN'),
        classes=['person', 'bicycle']),
    committee=dict(size=8))

# Core-set on what the last layer reads (appendix D.1).
_base_ = './resnet18_random_svhn.py'
active_learning = dict(selector=dict(type='mmal.CoreSet'))

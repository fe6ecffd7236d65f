# ssd300_voc07.py with mixtures of four Gaussians for boxes and classes.
_base_ = './ssd300_voc07.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

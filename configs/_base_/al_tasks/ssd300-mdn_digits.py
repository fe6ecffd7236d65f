# ssd300_digits.py with mixtures of four Gaussians for boxes and classes.
_base_ = './ssd300_digits.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

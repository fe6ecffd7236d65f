# "Ours": boxes and classes are mixtures of four Gaussians.
_base_ = './ssd300_voc07.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

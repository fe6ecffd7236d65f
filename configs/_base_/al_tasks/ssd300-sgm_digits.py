# ssd300_digits.py whose boxes are single Gaussians.
_base_ = './ssd300_digits.py'
model = dict(
    bbox_head=dict(
        type='mmal.MDNSSDHead', box_components=1, cls_components=0))

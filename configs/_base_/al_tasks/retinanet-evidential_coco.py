# retinanet_coco.py with evidential classes and, as in the published code, a
# softmax without a background.
_base_ = './retinanet_coco.py'
model = dict(
    bbox_head=dict(type='mmal.EvidentialRetinaHead', background=False))

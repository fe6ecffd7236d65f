# With evidential classes, at the schedule of retinanet-lite0_bccd.py.
_base_ = './retinanet-lite0_bccd.py'
model = dict(bbox_head=dict(type='mmal.EvidentialRetinaHead'))

# Mixtures of four for deltas and classes, at the schedule of
# ../evidential/retinanet-lite0_bccd.py.
_base_ = '../evidential/retinanet-lite0_bccd.py'
model = dict(bbox_head=dict(type='mmal.MDNRetinaHead'))

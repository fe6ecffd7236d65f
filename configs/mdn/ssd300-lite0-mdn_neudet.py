# MDN (Loc + Cl, K = 4) beside ssd300-lite0_neudet.py, at the same schedule.
_base_ = './ssd300-lite0_neudet.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

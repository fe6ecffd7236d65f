# MDN (Loc + Cl, K = 4) beside ssd300-lite0_bccd.py, at the same schedule.
_base_ = './ssd300-lite0_bccd.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

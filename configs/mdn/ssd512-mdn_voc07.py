# "Ours" with SSD512 (table 5 of MDN).
_base_ = './ssd512_voc07.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))

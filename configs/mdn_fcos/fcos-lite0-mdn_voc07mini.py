# Mixtures of four for distances and classes, at the schedule of
# fcos-lite0_voc07mini.py.
_base_ = './fcos-lite0_voc07mini.py'
model = dict(bbox_head=dict(type='mmal.MDNFCOSHead'))

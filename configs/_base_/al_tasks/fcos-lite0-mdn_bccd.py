# fcos-lite0_bccd.py with mixtures for distances and classes.
_base_ = './fcos-lite0_bccd.py'
model = dict(bbox_head=dict(type='mmal.MDNFCOSHead'))

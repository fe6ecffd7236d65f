# fcos_digits.py with mixtures for distances and classes.
_base_ = './fcos_digits.py'
model = dict(bbox_head=dict(type='mmal.MDNFCOSHead'))

# RTMDet-tiny on COCO with mixtures of four for distances and classes, at the
# schedule of mmdet's own.
_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(type='mmal.MDNRTMDetHead'))

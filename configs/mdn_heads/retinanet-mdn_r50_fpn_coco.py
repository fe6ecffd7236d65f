# RetinaNet on COCO with mixtures of four for deltas and classes, at the
# schedule of mmdet's own.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(type='mmal.MDNRetinaHead'))

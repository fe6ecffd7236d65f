# YOLOX-tiny on COCO with mixtures of four for offsets and classes, at the
# schedule of mmdet's own.
_base_ = 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py'
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(type='mmal.MDNYOLOXHead'))

# Plain RetinaNet with EfficientNet-Lite0 features on all of BCCD, the baseline
# of retinanet-lite0-evidential_bccd.py. Where the photos are looked for: the
# environment variable MMAL_DATA_ROOT, or --cfg-options data_root=…
_base_ = [
    '../_base_/models/retinanet_efficientnet-lite0_fpn.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/schedule_400i.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(num_classes=3))

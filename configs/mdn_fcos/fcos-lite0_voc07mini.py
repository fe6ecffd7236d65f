# Plain FCOS with EfficientNet-Lite0 features on 2,000 photos of VOC2007, the
# baseline of fcos-lite0-gaussian_voc07mini.py and fcos-lite0-mdn_voc07mini.py.
# Where the photos are looked for: the environment variable MMAL_DATA_ROOT, or
# --cfg-options data_root=…
_base_ = [
    '../_base_/models/fcos_efficientnet-lite0_fpn.py',
    '../_base_/datasets/voc07mini_detection.py',
    '../_base_/schedules/schedule_voc07mini.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(num_classes=20))

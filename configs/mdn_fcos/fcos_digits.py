# Plain FCOS on all scenes of handwritten digits, the baseline of
# fcos-gaussian_digits.py and fcos-mdn_digits.py. The scenes are made by
# python -c "from mmal.datasets import make_digits; make_digits('data/digits')"
_base_ = [
    '../_base_/models/fcos_efficientnet-lite0_fpn_s8-16.py',
    '../_base_/datasets/digits_detection.py',
    '../_base_/schedules/schedule_400i.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(num_classes=10))

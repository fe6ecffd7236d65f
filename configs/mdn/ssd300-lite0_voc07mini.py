# Plain SSD300 with EfficientNet-Lite0 features on 2,000 photos of VOC2007, the
# baseline of ssd300-lite0-mdn_voc07mini.py. Where the photos are looked for:
# the environment variable MMAL_DATA_ROOT, or --cfg-options data_root=…
_base_ = [
    '../_base_/models/ssd300_efficientnet-lite0.py',
    '../_base_/datasets/voc07mini_ssd300.py',
    '../_base_/schedules/schedule_voc07mini.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

# Plain SSD300 with EfficientNet-Lite0 features on all of NEU-DET, the baseline
# of ssd300-lite0-mdn_neudet.py. Where the photos are looked for: the
# environment variable MMAL_DATA_ROOT, or --cfg-options data_root=…
_base_ = [
    '../_base_/models/ssd300_efficientnet-lite0.py',
    '../_base_/datasets/neudet_ssd300.py',
    '../_base_/schedules/schedule_400i.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(bbox_head=dict(num_classes=6))

# Plain SSD300 on VOC2007 (tables 1a and 5 of MDN).
_base_ = [
    '../_base_/models/ssd300_vgg16.py',
    '../_base_/datasets/voc07_ssd300.py',
    '../_base_/schedules/schedule_120k.py',
    '../_base_/runtime_120k.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

# Plain SSD512 on VOC2007 (table 5 of MDN).
_base_ = [
    '../_base_/models/ssd512_vgg16.py',
    '../_base_/datasets/voc07_ssd512.py',
    '../_base_/schedules/schedule_120k.py',
    '../_base_/runtime_120k.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

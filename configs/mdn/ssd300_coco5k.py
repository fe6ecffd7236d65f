# Plain SSD300 on 5,000 photos of COCO (table 1b of MDN).
_base_ = [
    '../_base_/models/ssd300_vgg16_coco.py',
    '../_base_/datasets/coco5k_ssd300.py',
    '../_base_/schedules/schedule_120k.py',
    '../_base_/runtime_120k.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

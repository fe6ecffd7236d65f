# Plain YOLOv3 at 608 x 608 on VOC2007 and 2012 ("Baseline").
_base_ = [
    '../_base_/models/yolov3_d53.py',
    '../_base_/datasets/voc0712_yolov3.py',
    '../_base_/schedules/schedule_yolov3-voc.py',
    '../_base_/runtime_epochs.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

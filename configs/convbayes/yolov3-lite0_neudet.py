# YOLOv3 with EfficientNet-Lite0 features on all of NEU-DET, the baseline of
# the small table. Where the photos are looked for: the environment variable
# MMAL_DATA_ROOT, or --cfg-options data_root=…
# The anchors are the centres that k-means (distance 1 - IoU, best of 20
# starts) finds for the 3,158 boxes of the pool, in images of 200 x 200; the
# mean IoU of a box with its nearest is 0.68.
_base_ = [
    '../_base_/models/yolov3_efficientnet-lite0.py',
    '../_base_/datasets/neudet_detection.py',
    '../_base_/schedules/schedule_400i.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        num_classes=6,
        anchor_generator=dict(
            base_sizes=[[(139, 72), (73, 176), (164, 178)],
                        [(149, 26), (29, 172), (71, 102)],
                        [(24, 36), (25, 81), (58, 55)]])))

# YOLOv3 with a Bayesian branch on VOC2007 and VOC2012: 2,000 photos, then 8 x
# 1,000, as the other runs on them.
_base_ = [
    '../models/yolov3_d53.py',
    '../datasets/voc0712_yolov3.py',
    '../schedules/schedule_yolov3-voc.py',
    '../runtime_epochs.py',
    '../al_protocol.py',
]

model = dict(bbox_head=dict(type='mmal.BayesYOLOV3Head'))

active_learning = dict(
    data=dict(
        ann_file='annotations/voc0712_trainval.json',
        source='http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ and voc2012/ '
        '(unpacked into data/VOCdevkit), then python tools/dataset/'
        'voc2coco.py data/VOCdevkit/VOC2007 data/VOCdevkit/VOC2012 '
        '--split trainval --merge voc0712_trainval, and again with '
        'data/VOCdevkit/VOC2007 --split test'),
    initial=dict(size=2000),
    rounds=9,
    budget=dict(size=1000, unit='images'))

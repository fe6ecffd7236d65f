# Difficulty weighs the objectness loss, as in yolov3_d53-convbayes_voc0712.py.
_base_ = './yolov3-lite0_neudet.py'
model = dict(bbox_head=dict(type='mmal.BayesYOLOV3Head'))

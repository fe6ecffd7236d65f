# The objectness loss weighed by the difficulty that a Bayesian convolution
# beside the prediction layer finds ("Uncertainty weighted loss (Ours)").
_base_ = './yolov3_r50_voc0712.py'
model = dict(bbox_head=dict(type='mmal.BayesYOLOV3Head'))

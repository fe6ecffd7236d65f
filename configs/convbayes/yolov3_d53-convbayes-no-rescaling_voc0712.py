# The Bayesian convolution is trained beside the prediction layer, but weighs
# no loss ("Baseline w/ convBayes").
_base_ = './yolov3_d53-convbayes_voc0712.py'
model = dict(bbox_head=dict(branch=dict(rescale=False)))

# A plain convolution is trained beside the prediction layer and weighs no loss
# ("Baseline w/ additional conv").
_base_ = './yolov3_d53-convbayes_voc0712.py'
model = dict(bbox_head=dict(branch=dict(rescale=False, bayes=False)))

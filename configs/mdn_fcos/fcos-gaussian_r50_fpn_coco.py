# One Gaussian for each distance, at the schedule of fcos_r50_fpn_coco.py.
_base_ = './fcos_r50_fpn_coco.py'
model = dict(bbox_head=dict(type='mmal.GaussianFCOSHead'))

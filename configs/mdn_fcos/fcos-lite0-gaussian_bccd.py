# One Gaussian for each distance, at the schedule of fcos-lite0_bccd.py.
_base_ = './fcos-lite0_bccd.py'
model = dict(bbox_head=dict(type='mmal.GaussianFCOSHead'))

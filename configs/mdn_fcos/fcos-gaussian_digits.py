# One Gaussian for each distance, at the schedule of fcos_digits.py.
_base_ = './fcos_digits.py'
model = dict(bbox_head=dict(type='mmal.GaussianFCOSHead'))

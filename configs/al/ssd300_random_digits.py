# Plain SSD and random images, the baseline of the rivals on digits.
_base_ = './ssd300-mdn_random_digits.py'
model = dict(bbox_head=dict(type='mmal.SSDHead'))

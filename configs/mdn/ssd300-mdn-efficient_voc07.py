# "Ours*": classes without variances (eq. 8), and the loss of eq. 9.
_base_ = './ssd300-mdn_voc07.py'
model = dict(bbox_head=dict(cls_variance=False, weighting=dict(alpha=4.0)))

# Mixtures of two Gaussians (table 4 of MDN).
_base_ = './ssd300-mdn_voc07.py'
model = dict(bbox_head=dict(box_components=2, cls_components=2))

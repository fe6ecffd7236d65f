# SGM (Loc): boxes are single Gaussians, classes a plain softmax.
_base_ = './ssd300-mdn_voc07.py'
model = dict(bbox_head=dict(box_components=1, cls_components=0))

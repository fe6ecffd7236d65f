# SGM (Cl): classes are single Gaussians, boxes have smooth L1.
_base_ = './ssd300-mdn_coco5k.py'
model = dict(bbox_head=dict(box_components=0, cls_components=1))

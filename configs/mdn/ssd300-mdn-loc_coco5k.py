# MDN (Loc): boxes are mixtures of four Gaussians, classes a plain softmax.
_base_ = './ssd300-mdn_coco5k.py'
model = dict(bbox_head=dict(box_components=4, cls_components=0))

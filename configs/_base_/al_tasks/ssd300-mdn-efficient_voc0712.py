# ssd300-mdn_voc0712.py with the efficient form of the network ("Ours*" of
# MDN).
_base_ = './ssd300-mdn_voc0712.py'
model = dict(bbox_head=dict(cls_variance=False, weighting=dict(alpha=4.0)))

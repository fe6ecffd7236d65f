# Box-uncertainty (Choi et al., 2019): one Gaussian on each box coordinate.
_base_ = './ssd300-mdn_digits.py'
model = dict(bbox_head=dict(box_components=1, cls_components=0))
active_learning = dict(scorer=dict(uncertainties=('box_aleatoric', )))

# Focal loss on the objectness, as yolov3_d53-focal_voc0712.py has it.
_base_ = './yolov3-lite0_neudet.py'
model = dict(
    bbox_head=dict(
        loss_conf=dict(
            _delete_=True,
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=1.0,
            reduction='sum')))

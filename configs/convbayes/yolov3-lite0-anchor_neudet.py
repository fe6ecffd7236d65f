# Anchor loss on the objectness, as yolov3_d53-anchor_voc0712.py has it.
_base_ = './yolov3-lite0_neudet.py'
model = dict(
    bbox_head=dict(
        loss_conf=dict(
            _delete_=True,
            type='mmal.AnchorLoss',
            use_sigmoid=True,
            gamma=0.5,
            slack=0.05,
            objectness=True,
            loss_weight=1.0,
            reduction='sum')))

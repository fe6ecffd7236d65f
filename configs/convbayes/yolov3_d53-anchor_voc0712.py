# Anchor loss on the objectness ("Obj_Anchor loss"), with the gamma and the
# slack of its paper; the slides name neither.
_base_ = './yolov3_d53_voc0712.py'
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

# Focal loss on the objectness ("Obj_Focal loss"), with RetinaNet's alpha and
# gamma; the slides name neither.
_base_ = './yolov3_d53_voc0712.py'
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

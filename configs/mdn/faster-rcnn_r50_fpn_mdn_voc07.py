# Faster R-CNN whose boxes and classes are mixtures of four Gaussians (figure
# 4b of MDN). The efficient form ("Ours*"):
#   --cfg-options model.roi_head.bbox_head.cls_variance=False \
#       model.roi_head.bbox_head.weighting.alpha=4
_base_ = './faster-rcnn_r50_fpn_voc07.py'
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='mmal.MDNShared2FCBBoxHead',
            box_components=4,
            cls_components=4,
            loss_cls=dict(_delete_=True, type='mmal.MixtureCrossEntropyLoss'),
            loss_bbox=dict(_delete_=True, type='mmal.MixtureNLLLoss'))))

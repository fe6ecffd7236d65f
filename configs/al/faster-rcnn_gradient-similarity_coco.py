# ISAL without the Hessian (Gradient Similarity, section 4.4.2).
_base_ = './faster-rcnn_isal_coco.py'
active_learning = dict(
    scorer=dict(solver=dict(_delete_=True, type='mmal.Identity')))

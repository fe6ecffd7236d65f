# Random sampling under the settings of faster-rcnn_isal_coco.py.
_base_ = './faster-rcnn_isal_coco.py'

active_learning = dict(
    scorer=dict(_delete_=True, type='mmal.RandomScorer'))

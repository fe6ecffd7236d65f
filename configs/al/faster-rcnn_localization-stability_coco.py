_base_ = ['../_base_/al_tasks/faster-rcnn_coco.py',
          '../_base_/al_methods/localization-stability.py']
active_learning = _base_.pop('al_method')

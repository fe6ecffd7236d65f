_base_ = ['../_base_/al_tasks/retinanet_coco.py',
          '../_base_/al_methods/entropy-max.py']
active_learning = _base_.pop('al_method')

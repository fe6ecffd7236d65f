_base_ = ['../_base_/al_tasks/retinanet_coco-loop.py',
          '../_base_/al_methods/mi-max.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/retinanet_coco-ab.py',
          '../_base_/al_methods/mi-max-round-robin.py']
active_learning = _base_.pop('al_method')

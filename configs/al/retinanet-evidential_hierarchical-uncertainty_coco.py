_base_ = ['../_base_/al_tasks/retinanet-evidential_coco.py',
          '../_base_/al_methods/hierarchical-uncertainty.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/ssd300_coco.py',
          '../_base_/al_methods/ensemble-4.py']
active_learning = _base_.pop('al_method')

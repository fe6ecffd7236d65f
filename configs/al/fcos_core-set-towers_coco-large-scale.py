_base_ = ['../_base_/al_tasks/fcos_coco-large-scale.py',
          '../_base_/al_methods/core-set-towers-r50.py']
active_learning = _base_.pop('al_method')

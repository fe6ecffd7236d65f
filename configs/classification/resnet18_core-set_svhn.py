_base_ = ['../_base_/al_tasks/resnet18_svhn.py',
          '../_base_/al_methods/core-set.py']
active_learning = _base_.pop('al_method')

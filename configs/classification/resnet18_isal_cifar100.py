_base_ = ['../_base_/al_tasks/resnet18_cifar100.py',
          '../_base_/al_methods/isal-classifier.py']
active_learning = _base_.pop('al_method')

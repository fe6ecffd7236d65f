_base_ = ['../_base_/al_tasks/resnet18_cifar10.py',
          '../_base_/al_methods/isal-top10-classifier.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/resnet18_cifar10.py',
          '../_base_/al_methods/llal-classifier.py']
model = _base_.pop('al_method_model')
custom_hooks = _base_.pop('al_method_custom_hooks')
active_learning = _base_.pop('al_method')

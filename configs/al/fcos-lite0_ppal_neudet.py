_base_ = ['../_base_/al_tasks/fcos-lite0_neudet.py',
          '../_base_/al_methods/ppal.py']
custom_hooks = [dict(_base_.pop('al_method_custom_hooks')[0], momentum=0.99)]
active_learning = _base_.pop('al_method')

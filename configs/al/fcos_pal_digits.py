_base_ = ['../_base_/al_tasks/fcos_digits.py',
          '../_base_/al_methods/pal.py']
active_learning = _base_.pop('al_method')

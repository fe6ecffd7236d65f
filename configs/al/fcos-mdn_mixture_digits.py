_base_ = ['../_base_/al_tasks/fcos-mdn_digits.py',
          '../_base_/al_methods/mixture.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/ssd300-sgm_digits.py',
          '../_base_/al_methods/box-uncertainty.py']
active_learning = _base_.pop('al_method')

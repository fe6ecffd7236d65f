_base_ = ['../_base_/al_tasks/ssd512-mdn_voc07.py',
          '../_base_/al_methods/mixture.py']
active_learning = _base_.pop('al_method')

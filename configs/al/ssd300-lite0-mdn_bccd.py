_base_ = ['../_base_/al_tasks/ssd300-lite0-mdn_bccd.py',
          '../_base_/al_methods/mixture.py']
active_learning = _base_.pop('al_method')

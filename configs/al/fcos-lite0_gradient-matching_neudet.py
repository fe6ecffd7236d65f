_base_ = ['../_base_/al_tasks/fcos-lite0_neudet.py',
          '../_base_/al_methods/gradient-matching.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/fcos-lite0-cached_neudet-redundant.py',
          '../_base_/al_methods/random.py']
active_learning = _base_.pop('al_method')

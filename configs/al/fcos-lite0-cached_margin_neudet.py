_base_ = ['../_base_/al_tasks/fcos-lite0-cached_neudet.py',
          '../_base_/al_methods/margin.py']
active_learning = _base_.pop('al_method')

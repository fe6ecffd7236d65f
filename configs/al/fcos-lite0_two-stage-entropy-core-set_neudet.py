_base_ = ['../_base_/al_tasks/fcos-lite0_neudet.py',
          '../_base_/al_methods/two-stage-entropy-core-set.py']
active_learning = _base_.pop('al_method')

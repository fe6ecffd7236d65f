_base_ = ['../_base_/al_tasks/fcos-lite0_bccd.py',
          '../_base_/al_methods/llal.py']
model = _base_.pop('al_method_model')
active_learning = _base_.pop('al_method')

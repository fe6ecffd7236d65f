_base_ = ['../_base_/al_tasks/ssd300_voc0712.py',
          '../_base_/al_methods/ensemble-3.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/ssd300_voc07.py',
          '../_base_/al_methods/random.py']
active_learning = _base_.pop('al_method')

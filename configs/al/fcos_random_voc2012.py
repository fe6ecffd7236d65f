_base_ = ['../_base_/al_tasks/fcos_voc2012.py',
          '../_base_/al_methods/random.py']
active_learning = _base_.pop('al_method')

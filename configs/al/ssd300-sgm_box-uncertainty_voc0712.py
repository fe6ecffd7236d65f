_base_ = ['../_base_/al_tasks/ssd300-sgm_voc0712.py',
          '../_base_/al_methods/box-uncertainty.py']
active_learning = _base_.pop('al_method')

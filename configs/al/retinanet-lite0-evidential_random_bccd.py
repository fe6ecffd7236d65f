_base_ = ['../_base_/al_tasks/retinanet-lite0-evidential_bccd.py',
          '../_base_/al_methods/random.py']
active_learning = _base_.pop('al_method')

_base_ = ['../_base_/al_tasks/ssd300-lite0-mdn_voc07mini.py',
          '../_base_/al_methods/random.py']
active_learning = _base_.pop('al_method')

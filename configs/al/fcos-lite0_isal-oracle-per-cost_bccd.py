_base_ = ['../_base_/al_tasks/fcos-lite0_bccd.py',
          '../_base_/al_methods/isal-oracle-per-cost.py']
active_learning = _base_.pop('al_method')
active_learning.scorer.scorer.ann_file = _base_.data_root + 'pool.json'

# The second embedded demo: MDN's four uncertainties on the same scenes.
_base_ = ['../_base_/al_tasks/ssd300-mdn_digits.py',
          '../_base_/al_methods/mixture.py']
active_learning = _base_.pop('al_method')

# The embedded demo: ISAL on scenes of handwritten digits.
_base_ = ['../_base_/al_tasks/fcos_digits.py',
          '../_base_/al_methods/isal.py']
active_learning = _base_.pop('al_method')

# ISAL on COCO until AP 22 (section 4.2 and table 9 of the paper).
_base_ = ['../_base_/al_tasks/fcos_coco.py',
          '../_base_/al_methods/isal-fcos-r50.py']
active_learning = _base_.pop('al_method')

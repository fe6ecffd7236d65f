_base_ = ['../_base_/al_tasks/retinanet_coco.py',
          '../_base_/al_methods/mc-dropout-fpn.py']
model = _base_.pop('al_method_model')
active_learning = _base_.pop('al_method')

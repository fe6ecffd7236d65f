_base_ = ['../_base_/al_tasks/retinanet_coco-full.py',
          '../_base_/al_methods/random.py']
active_learning = _base_.pop('al_method')

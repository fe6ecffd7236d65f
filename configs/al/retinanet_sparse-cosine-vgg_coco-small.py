_base_ = ['../_base_/al_tasks/retinanet_coco-small.py',
          '../_base_/al_methods/sparse-cosine-vgg.py']
active_learning = _base_.pop('al_method')

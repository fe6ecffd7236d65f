_base_ = ['../_base_/al_tasks/yolov3-convbayes_voc0712.py',
          '../_base_/al_methods/bald.py']
active_learning = _base_.pop('al_method')

# Each query takes 28,000 images from all: those trained on before compete, and
# are repeated in training if taken again ("AL, [Xu, Xl]" of table IV).
_base_ = './retinanet_mi-max_coco-loop.py'
active_learning = dict(candidates='all', budget=dict(repeats='counted'))

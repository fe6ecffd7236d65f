# The same with cosine distances ("CS, VGG, cosine").
_base_ = './retinanet_core-set-euclidean-vgg_coco-small.py'
active_learning = dict(selector=dict(distance='cosine'))

# core-set-euclidean.py with embeddings of VGG16 ("CS, VGG, Eucl.").
_base_ = ['./core-set-euclidean.py', '../models/vgg16_embedder.py']
al_method = dict(embedder=_base_.pop('embedder'))

# core-set-cosine.py with embeddings of VGG16 ("CS, VGG, cosine").
_base_ = ['./core-set-cosine.py', '../models/vgg16_embedder.py']
al_method = dict(embedder=_base_.pop('embedder'))

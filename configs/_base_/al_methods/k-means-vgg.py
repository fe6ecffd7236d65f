# k-means.py with embeddings of VGG16 ("KMPP, VGG, Eucl.").
_base_ = ['./k-means.py', '../models/vgg16_embedder.py']
al_method = dict(embedder=_base_.pop('embedder'))

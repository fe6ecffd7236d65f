# sparse-euclidean.py with embeddings of VGG16 ("OMP, VGG, Eucl.").
_base_ = ['./sparse-euclidean.py', '../models/vgg16_embedder.py']
al_method = dict(embedder=_base_.pop('embedder'))

# sparse-cosine.py with embeddings of VGG16 ("OMP, VGG, cosine").
_base_ = ['./sparse-cosine.py', '../models/vgg16_embedder.py']
al_method = dict(embedder=_base_.pop('embedder'))

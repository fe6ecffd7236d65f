# The keys of active learning and their defaults: those of al_protocol.py;
# docs/config.md explains them. A config that says itself how images are chosen
# starts from here; one that takes a method from al_methods/ starts from
# al_protocol.py, or from a task of al_tasks/.
# Where neither is named, images far from all labelled ones are chosen
# (mmal.CoreSet, by embeddings of the backbone): docs/choosing.md says why.
#   scorer=dict(type='mmal.EntropyScorer'): model and images in, one value per
#       image out, higher is labelled first
#   selector=dict(type='mmal.KMeansPlusPlus'): scores and embeddings in, image
#       ids out; with a scorer mmal.TopN by default
# A config may add, for scorers that compare several opinions, a committee:
#   committee=dict(type='mmal.EnsembleCommittee', size=3), the model and
#       two others trained in every round, or
#   committee=dict(type='mmal.DropoutCommittee', passes=25)
# and, for selectors that need embeddings, a network of its own for them, or
# layers of the detector:
#   embedder=dict(type='mmal.EmbeddingModel', backbone=dict(…))
#   embedder=dict(type='mmal.LayerEmbedder', layers=('neck', ))
# and, where labelled images may be reselected:
#   candidates='all'
_base_ = './al_protocol.py'

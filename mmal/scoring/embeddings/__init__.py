"""One vector of each image: what is embedded, and where the rows lie."""
from .base import BackboneEmbedder, BaseEmbedder, Extractor
from .layer_embedder import LayerEmbedder
from .reuse import EmbeddingStore
from .second_network import EmbeddingModel
from .store import EmbeddingFile

__all__ = [
    'BackboneEmbedder', 'BaseEmbedder', 'EmbeddingFile', 'EmbeddingModel',
    'EmbeddingStore', 'Extractor', 'LayerEmbedder'
]

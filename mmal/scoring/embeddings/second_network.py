"""Embeddings from a second network instead of the detector's backbone."""
from __future__ import annotations

import hashlib
import json
from typing import Optional

import cv2
import mmcv
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmal.models.committees.preprocessing import renormalise, statistics
from mmal.models.utils.evaluation_mode import full_precision
from mmal.models.utils.random_state import preserve_rng_state
from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch
from .base import BaseEmbedder, Extractor, pooled

_BLANK = 64  # pixels
_KEY = 'active_learning.embedder'

# Of images whose channels are in the order BGR, as mmcv reads them.
IMAGENET = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)


@TASK_UTILS.register_module()
class EmbeddingModel(BaseEmbedder):
    """A second backbone, e.g. one of ImageNet, whose last map is averaged.

    "VGG" in "Scalable Active Learning for Object Detection", table III. It
    sees the images that the detector sees, resized and padded alike, but
    normalised its own way. It is never trained.

    Cost: one forward pass of each image in a run, as its embeddings are kept
    and used again by later rounds.

    Args:
        backbone (dict): An mmdet backbone; ``init_cfg`` names its weights.
            What it leaves open is drawn with a seed of its own.
        data_preprocessor (dict, optional): ``mean``, ``std`` and
            ``bgr_to_rgb`` of the images it was trained on. Default: those of
            torchvision.
        store (str, optional): Folder where embeddings are kept, which several
            runs may share. Default: the work folder of the run.

    Examples:
        >>> vgg16 = EmbeddingModel(dict(  # doctest: +SKIP
        ...     type='mmdet.SSDVGG', depth=16, out_feature_indices=(29, ),
        ...     init_cfg=dict(type='Pretrained',
        ...                   checkpoint='torchvision://vgg16')))
    """

    def __init__(self,
                 backbone: dict,
                 data_preprocessor: Optional[dict] = None,
                 store: Optional[str] = None) -> None:
        self.backbone = backbone
        self.data_preprocessor = dict(data_preprocessor or IMAGENET)
        self.store = store
        self._network: Optional[nn.Module] = None

    def check(self, model: nn.Module) -> None:
        """Build it, load its weights and try it on a blank image.

        Args:
            model (nn.Module): The detector.

        Raises:
            ValueError: If it cannot be built, its output is no map, or the
                detector's images cannot be translated for it.
        """
        source = getattr(model, 'data_preprocessor', None)
        if not isinstance(source, DetDataPreprocessor):
            raise ValueError(
                f'{_KEY} needs a detector with a DetDataPreprocessor, whose '
                'normalisation it can undo, but this one has a '
                f'{type(source).__name__}: leave {_KEY} out.')
        with torch.no_grad():
            try:
                pooled(self.network(torch.zeros(1, 3, _BLANK, _BLANK)))
            except ValueError as e:
                raise ValueError(f'{_KEY}.backbone: {e}') from e

    def attach(self, model: nn.Module) -> NetworkExtractor:
        """What gives embeddings inside a ``with``.

        Args:
            model (nn.Module): The detector; gives device and normalisation.
        """
        target = self._built(
            dict(type='mmdet.DetDataPreprocessor', **self.data_preprocessor),
            'data_preprocessor')
        return NetworkExtractor(self.network, model, target)

    def fingerprint(self, model: nn.Module) -> str:
        """A hash of the network, its weights, and how it normalises images.

        Rounding differs between versions and devices, so these count too.

        Args:
            model (nn.Module): The detector, whose normalisation is undone.
        """
        source, like = model.data_preprocessor, torch.zeros(())
        backbone = {k: v for k, v in self.backbone.items() if k != 'init_cfg'}
        description = [
            backbone, repr(self.network), self.data_preprocessor,
            [s.flatten().tolist() for s in statistics(source, like)],
            source._channel_conversion, source.pad_size_divisor,
            source.pad_value, next(model.parameters()).device.type,
            torch.__version__, mmcv.__version__, cv2.__version__]
        digest = hashlib.blake2b(
            json.dumps(description, sort_keys=True, default=str).encode(),
            digest_size=16)
        for name, weights in self.network.state_dict().items():
            digest.update(f'{name} {weights.dtype} {list(weights.shape)}'
                          .encode())
            digest.update(weights.detach().cpu().contiguous().flatten().view(
                torch.uint8).numpy())
        return digest.hexdigest()

    @property
    def network(self) -> nn.Module:
        """The backbone in eval mode, on the CPU; built when it is asked for.

        Raises:
            ValueError: If it cannot be built.
        """
        if self._network is None:
            with preserve_rng_state():
                # What no file gives is the same in every process and later on.
                # torch.manual_seed would leave a GPU's state changed.
                torch.default_generator.manual_seed(0)
                network = self._built(self.backbone, 'backbone')
                network.init_weights()
            # In a line of its own: the eval() of mmdet's backbones returns
            # nothing.
            network.eval()
            self._network = network.requires_grad_(False)
        return self._network

    def _built(self, cfg: dict, name: str) -> nn.Module:
        try:
            return MODELS.build(dict(cfg))
        except (KeyError, TypeError, AssertionError) as e:
            raise ValueError(f'{_KEY}.{name} cannot be built from '
                             f'{dict(cfg)}: {e}') from e


class NetworkExtractor(Extractor):
    """Runs a second network on the batches of a detector.

    Inside a ``with`` the network is on the detector's device.

    Args:
        network (nn.Module): A backbone in eval mode, on the CPU.
        model (nn.Module): The detector.
        target (nn.Module): The data preprocessor of the network.
    """

    def __init__(self, network: nn.Module, model: nn.Module,
                 target: nn.Module) -> None:
        self._network = network
        self._device = next(model.parameters()).device
        self._source = model.data_preprocessor
        self._target = target
        self._batch: Optional[Batch] = None

    def __enter__(self) -> NetworkExtractor:
        self._network.to(self._device)
        return self

    def __exit__(self, *args) -> None:
        self._network.to('cpu')

    def set_batch(self, batch: Batch) -> None:
        """Say which batch the next embeddings are of."""
        self._batch = batch

    @torch.no_grad()
    def embedding(self) -> Tensor:
        """float32 [B, D] of the batch that was set."""
        images = renormalise(self._batch.inputs, self._batch.samples,
                             self._source, self._target)
        # kept for other runs, whatever precision they score in
        with full_precision():
            return pooled(self._network(images))

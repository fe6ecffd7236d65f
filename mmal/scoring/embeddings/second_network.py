"""Embeddings from a second network instead of the detector's backbone."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Optional, Union

import cv2
import mmcv
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

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
    """A second network, e.g. one of ImageNet: the average of its last map, or
    the vector that it gives.

    "VGG" in "Scalable Active Learning for Object Detection", table III. It
    sees the images that the detector sees, resized and padded alike, but
    normalised its own way; one of timm or torchvision sees them without the
    padding in its own size, whatever their aspect ratio. It is never trained.

    Cost: one forward pass of each image in a run, as its embeddings are kept
    and used again by later rounds.

    Args:
        backbone (dict): An mmdet backbone, ``init_cfg`` names its weights; or
            :class:`~mmal.models.backbones.TimmBackbone` or
            :class:`~mmal.models.backbones.TorchvisionBackbone`. What it leaves
            open is drawn with a seed of its own.
        data_preprocessor (dict, optional): ``mean``, ``std`` and
            ``bgr_to_rgb`` of the images it was trained on. Default: what the
            network says of itself, or those of torchvision.
        input_size (int | sequence[int], optional): Height and width that
            images are resized to, without their padding. Default: what the
            network says of itself, or the detector's size.
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
                 store: Optional[str] = None,
                 input_size: Optional[Union[int, Sequence[int]]] = None
                 ) -> None:
        sizes = (input_size, ) * 2 if isinstance(input_size, int) else \
            input_size and tuple(input_size)
        if sizes is not None and (len(sizes) != 2 or not all(
                isinstance(size, int) and size >= 1 for size in sizes)):
            raise ValueError(f'{_KEY}.input_size is {input_size!r}: give one '
                             'number of pixels, or height and width.')
        self.backbone = backbone
        self.store = store
        self._preprocessor = data_preprocessor
        self._input_size = sizes
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
        size = self.input_size or (_BLANK, _BLANK)
        with torch.no_grad():
            try:
                vectors(self.network(torch.zeros(1, 3, *size)))
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
        return NetworkExtractor(self.network, model, target, self.input_size)

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
        if self.input_size is not None:
            description.append(list(self.input_size))
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
    def data_preprocessor(self) -> dict:
        """How its images are normalised."""
        own = getattr(self.network, 'data_preprocessor', None)
        return dict(self._preprocessor or own or IMAGENET)

    @property
    def input_size(self) -> Optional[tuple[int, int]]:
        """Height and width of its images; None for the detector's."""
        return self._input_size or getattr(self.network, 'input_size', None)

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
        input_size (tuple[int, int], optional): Height and width of its images.
    """

    def __init__(self, network: nn.Module, model: nn.Module,
                 target: nn.Module,
                 input_size: Optional[tuple[int, int]] = None) -> None:
        self._network = network
        self._device = next(model.parameters()).device
        self._source = model.data_preprocessor
        self._target = target
        self._input_size = input_size
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
        if self._input_size is not None:
            # images of one size have paddings of one size
            height, width = self._batch.samples[0].img_shape[:2]
            images = functional.interpolate(
                images[..., :height, :width], self._input_size,
                mode='bilinear', antialias=True)
        # kept for other runs, whatever precision they score in
        with full_precision():
            return vectors(self._network(images))


def vectors(output) -> Tensor:
    """What a network gives as one vector of each image.

    Args:
        output (Tensor | sequence[Tensor] | dict[str, Tensor]): [B, D], or maps
            as :func:`~mmal.scoring.embeddings.base.pooled` takes.

    Returns:
        Tensor: float32 [B, D].

    Raises:
        ValueError: If that is neither.
    """
    if torch.is_tensor(output) and output.dim() == 2:
        return output.detach().float()
    return pooled(output)

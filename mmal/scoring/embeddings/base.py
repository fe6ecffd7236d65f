"""What is embedded: one vector of each image, by default the average of the
backbone's last map.

Embeddings are taken from the forward pass that scores, unless
``active_learning.embedder`` names another source.
"""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Optional

import torch
from torch import Tensor, nn

from mmal.recorder import ModuleCall, Recorder
from mmal.scoring.batch import Batch


class BaseEmbedder(metaclass=ABCMeta):
    """A source of embeddings: ``active_learning.embedder``.

    Attributes:
        store (str, optional): Folder of embeddings that several runs share,
            of a source with a :meth:`fingerprint`.
        embeds (str, optional): What the embeddings are of, where not of whole
            images: 'class distributions'. Selectors that read such rows ask
            for them.
    """

    store: Optional[str] = None
    embeds: Optional[str] = None

    def fingerprint(self, model: nn.Module) -> Optional[str]:
        """What tells this source from others where it gives an image the same
        embedding whatever the weights of the detector; later rounds then use
        embeddings again. None, the default, where it does not.

        Args:
            model (nn.Module): The detector.
        """
        return None

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Find mistakes in the settings before any training.

        Args:
            model (nn.Module): The detector in eval mode, with any weights.

        Raises:
            ValueError: If this model has no such embeddings.
        """

    @abstractmethod
    def attach(self, model: nn.Module) -> Extractor:
        """What gives embeddings of a model's batches, inside a ``with``.

        Args:
            model (nn.Module): The detector in eval mode.
        """


class Extractor(AbstractContextManager):
    """Gives the embeddings of one batch after another, inside a ``with``."""

    @abstractmethod
    def set_batch(self, batch: Batch) -> None:
        """Say which batch the next forward passes are about."""

    @abstractmethod
    def embedding(self) -> Tensor:
        """float32 [B, D] of the batch that was set."""


class BackboneEmbedder(BaseEmbedder):
    """The default: the average of the backbone's last map.

    Cost: nothing where the scorer passes the images through the backbone,
    else one pass of the backbone an image.
    """

    def check(self, model: nn.Module) -> None:
        """See :meth:`BaseEmbedder.check`."""
        backbone_of(model)

    def attach(self, model: nn.Module) -> BackboneExtractor:
        """See :meth:`BaseEmbedder.attach`."""
        return BackboneExtractor(model)


class BackboneExtractor(Extractor):
    """Watches the forward passes of a backbone.

    Args:
        model (nn.Module): A detector with a ``backbone``.

    Raises:
        ValueError: If it has none.
    """

    def __init__(self, model: nn.Module) -> None:
        self._backbone = backbone_of(model)
        self._recorder = Recorder({'backbone': self._backbone}, self._look)
        self._inputs: Optional[Tensor] = None
        self._embedding: Optional[Tensor] = None

    def __enter__(self) -> BackboneExtractor:
        self._recorder.__enter__()
        return self

    def __exit__(self, *args) -> None:
        self._recorder.__exit__(*args)

    def set_batch(self, batch: Batch) -> None:
        """See :meth:`Extractor.set_batch`."""
        self._inputs, self._embedding = batch.inputs, None

    def embedding(self) -> Tensor:
        """See :meth:`Extractor.embedding`.

        The backbone is run here if it has not seen the batch since: the
        scorer did not look, changed the images first, or ran the backbone
        with dropout or other changes from outside (hooks inside it).
        """
        if self._embedding is None:
            with torch.no_grad():
                self._embedding = pooled(self._backbone(self._inputs))
        return self._embedding

    def _look(self, call: ModuleCall) -> None:
        # The first pass of the batch as it was set counts: a scorer may pass
        # changed images through the backbone as well.
        if self._embedding is not None or not call.args or \
                not is_same_tensor(call.args[0], self._inputs):
            return
        # Dropout, or hooks inside the backbone as those of DropoutCommittee,
        # give what is no embedding of the image alone.
        inside = (m for m in call.module.modules() if m is not call.module)
        disturbed = call.module.training or any(
            m.training or m._forward_hooks for m in inside)
        if not disturbed:
            self._embedding = pooled(call.output)


def backbone_of(model: nn.Module) -> nn.Module:
    """The module whose last map is averaged.

    Raises:
        ValueError: If the model has none.
    """
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f'{type(model).__name__} has no backbone, so embeddings cannot '
            'be taken from it: use a selector without embeddings '
            '(active_learning.selector), or a scorer that returns its own.')
    return backbone


def pooled(maps) -> Tensor:
    """The global average of the last map of a backbone.

    Args:
        maps (Tensor | sequence[Tensor] | dict[str, Tensor]): What the
            backbone returned: one map [B, D, H, W] or several, the last of
            which counts.

    Returns:
        Tensor: float32 [B, D]. All H·W positions count, those of the padding
        to ``pad_size_divisor`` included; images of other sizes never share a
        batch, so there is no other padding.

    Raises:
        ValueError: If that is no map.
    """
    if isinstance(maps, dict):
        maps = list(maps.values())
    if isinstance(maps, Sequence):
        maps = maps[-1] if len(maps) else None
    if not torch.is_tensor(maps) or maps.dim() != 4:
        shape = getattr(maps, 'shape', type(maps).__name__)
        raise ValueError(
            f"the backbone's last output is {shape}, not a map of shape "
            '[B, D, H, W]: embeddings are its average over H and W.')
    return maps.detach().float().mean((2, 3))


def is_same_tensor(seen, wanted: Optional[Tensor]) -> bool:
    """Whether two tensors are the same memory in the same shape."""
    return torch.is_tensor(seen) and wanted is not None and \
        seen.shape == wanted.shape and \
        seen.data_ptr() == wanted.data_ptr()

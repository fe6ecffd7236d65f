"""A frozen backbone that looks at each image once."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmal.registry import MODELS

Maps = tuple[Tensor, ...]


class _FeatureCache:
    """Features by what they are of; the one that nobody has asked for in the
    longest time makes room for a new one."""

    def __init__(self) -> None:
        self.features: dict[bytes, Maps] = {}  # the latest asked for last
        self.bytes = 0

    def get(self, key: bytes) -> Optional[Maps]:
        maps = self.features.pop(key, None)
        if maps is not None:
            self.features[key] = maps
        return maps

    def add(self, key: bytes, maps: Maps, limit: float) -> None:
        self.features[key] = maps
        self.bytes += _size(maps)
        while self.bytes > limit:
            oldest = next(iter(self.features))
            self.bytes -= _size(self.features.pop(oldest))


# One for all backbones of the process: each round builds its model anew, and
# its frozen weights are those of the round before.
_CACHE = _FeatureCache()


@MODELS.register_module()
class CachedBackbone(BaseModule):
    """Any backbone, frozen, whose features are kept in memory.

    A small schedule spends most of its time in the backbone, on the same
    images again and again: in every epoch, in every round, in validation and
    in scoring. A frozen one gives them the same features each time, so a
    training costs its neck and head alone. (Augmentations that repeat, such as
    flips, have features of their own; random crops or colours hardly ever
    repeat and gain nothing.)

    Features are found by a hash of the weights, of the image as the network
    sees it and of the precision it computes in (a run may score in bf16), and
    each image is computed alone, so that they do not depend on the batch it
    came in or on what was kept before: a run that is killed and resumed has
    the same. Runs in one process share them.

    On a GPU, where finding them would take longer than computing them, where
    something below is in training mode (MC-dropout), and where a gradient
    with respect to the images is asked for, nothing is kept.

    Args:
        backbone (dict): Config of a backbone; all of it is frozen.
        max_gib (float): Memory for the features of all backbones of the
            process, in GiB; those asked for least lately make room.
            Defaults to 1.
        init_cfg (dict, optional): As any mmengine module's; the backbone has
            its own. Defaults to None.

    Raises:
        ValueError: If ``max_gib`` is below 0.

    Examples:
        >>> import torch
        >>> from mmal.models import CachedBackbone
        >>> backbone = CachedBackbone(dict(type='mmal.EfficientNetLite'))
        >>> maps = backbone(torch.zeros(2, 3, 64, 64))
        >>> [tuple(x.shape) for x in maps]
        [(2, 40, 8, 8), (2, 112, 4, 4), (2, 320, 2, 2)]
    """

    def __init__(self, backbone: dict, max_gib: float = 1.0,
                 init_cfg=None) -> None:
        super().__init__(init_cfg)
        if max_gib < 0:
            raise ValueError(
                f'CachedBackbone: max_gib is {max_gib}; give 0 or more')
        self.backbone = MODELS.build(backbone)
        self.backbone.requires_grad_(False)
        self.max_bytes = max_gib * 2**30
        self._weights = (None, b'')  # their versions, and their hash
        self.train(self.training)

    def train(self, mode: bool = True) -> CachedBackbone:
        """Set the mode of what is around it; the backbone stays in eval
        mode, with the statistics of its batch norms."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Maps:
        """The maps of the backbone.

        Args:
            x (Tensor): Images as the backbone takes them, [B, 3, H, W].

        Returns:
            tuple[Tensor]: As the backbone gives them, each [B, C, h, w].
        """
        if x.requires_grad:
            return tuple(self.backbone(x))
        if x.is_cuda or any(m.training for m in self.backbone.modules()):
            with torch.no_grad():
                return tuple(self.backbone(x))
        # Autocast changes neither weights nor images; a product tells of it.
        precision = str((x.new_ones(1, 1) @ x.new_ones(1, 1)).dtype)
        network = self._hash_of_weights() + precision.encode()
        rows = [self._features(image, network) for image in x]
        return tuple(torch.cat(maps) for maps in zip(*rows))

    def _features(self, image: Tensor, network: bytes) -> Maps:
        """The maps of one image, each [1, C, h, w]."""
        key = _digest([image], network + repr(tuple(image.shape)).encode())
        maps = _CACHE.get(key)
        if maps is None:
            with torch.no_grad():
                maps = tuple(self.backbone(image[None]))
            _CACHE.add(key, maps, self.max_bytes)
        return maps

    def _hash_of_weights(self) -> bytes:
        """Of parameters and buffers, hashed anew when one was written to."""
        tensors = list(self.backbone.state_dict(keep_vars=True).values())
        versions = tuple((id(t), t._version) for t in tensors)
        if versions != self._weights[0]:
            self._weights = versions, _digest(
                tensors, repr(self.backbone).encode())
        return self._weights[1]


def _size(maps: Maps) -> int:
    """Bytes."""
    return sum(m.numel() * m.element_size() for m in maps)


def _digest(tensors: Iterable[Tensor], more: bytes) -> bytes:
    """A hash of what tensors contain."""
    content = hashlib.blake2b(more, digest_size=16)
    for tensor in tensors:
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.digest()

"""Several passes of one detector with different units dropped."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Union

import torch
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmal.randomness import seeded_uniform
from mmal.registry import TASK_UTILS
from .base import BaseCommittee, BatchLike, Member
from .loading import blank_inputs

ELEMENTS = (nn.Dropout, )
CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@TASK_UTILS.register_module()
class DropoutCommittee(BaseCommittee):
    """T passes of one detector with its dropout layers active (MC-dropout).

    Everything else stays as in inference. What comes before the first stage
    with a dropout layer, of backbone, neck and head, is computed once.

    Active are ``nn.Dropout`` (elements) and ``nn.Dropout1d``, ``2d``, ``3d``
    (whole channels) with p > 0, whose inputs begin with the batch, wherever
    backbone, neck or single-stage head run them; not active is dropout that is
    no module, as inside ``nn.MultiheadAttention``. The
    masks of an image follow from (seed, round, image id, pass) alone, drawn
    on the CPU so that they are the same on every device.

    Args:
        passes (int): T, at least 2.

    Raises:
        ValueError: If ``passes`` is no such number.
    """

    def __init__(self, passes: int = 25) -> None:
        if not isinstance(passes, int) or isinstance(passes, bool) or \
                passes < 2:
            raise ValueError(f'active_learning.committee.passes is {passes!r}:'
                             ' give the number of dropout passes, at least 2.')
        self.passes = passes
        self.seed = 0
        self.round = 0

    @property
    def size(self) -> int:
        """T."""
        return self.passes

    def check(self, model: nn.Module, in_run: bool = True) -> None:
        """Look for a dropout layer.

        Raises:
            ValueError: If there is none with p > 0 that the detector runs, or
                one in a RoI head.
        """
        super().check(model, in_run)
        if dropout_layers(getattr(model, 'roi_head', nn.Identity())):
            raise ValueError(
                'active_learning.committee is a DropoutCommittee, but the '
                'roi_head has dropout layers, whose rows are proposals and '
                'not images: put dropout into backbone or neck, or use '
                "active_learning.committee=dict(type='mmal.EnsembleCommittee'"
                ', size=3).')
        layers = dropout_layers(model)
        if not layers or not _runs_any(model, layers):
            what = 'no dropout layer with p > 0' if not layers else \
                'dropout layers only where inference never comes by'
            raise ValueError(
                'active_learning.committee is a DropoutCommittee, but the '
                f'model has {what}: give '
                "neck=dict(type='mmal.DropoutSSDNeck') or a backbone, neck or "
                'bbox_head with nn.Dropout layers, or use '
                "active_learning.committee=dict(type='mmal.EnsembleCommittee'"
                ', size=3).')

    def prepare(self,
                model: nn.Module,
                seed: int = 0,
                round: int = 0,
                weights: Sequence[str] = ()) -> None:
        """Remember what the masks are drawn from."""
        self.seed = seed
        self.round = round

    def members(self, model: nn.Module,
                batch: BatchLike) -> Iterator[Member]:
        """Draw masks; features run from the first dropout on."""
        fixed, random = _split_stages(model)
        x = _run(fixed, batch.inputs)
        layers = dropout_layers(model)
        for number in range(self.passes):
            masks = _Masks(
                seeded_uniform(batch.ids, self.seed, self.round, 'dropout',
                               number))
            with _dropping(layers, masks):
                yield Member(model, partial(_run, random, x))


def dropout_layers(model: nn.Module) -> list[nn.Module]:
    """The dropout modules of a model with p > 0."""
    return [
        m for m in model.modules()
        if isinstance(m, ELEMENTS + CHANNELS) and m.p > 0
    ]


@torch.no_grad()
def _runs_any(model: nn.Module, layers: Sequence[nn.Module]) -> bool:
    """Whether opinions of a model pass through one of its layers."""
    seen, training = [], model.training
    handles = [layer.register_forward_hook(lambda *_: seen.append(1))
               for layer in layers]
    try:
        features = model.eval().extract_feat(blank_inputs(model))
        if hasattr(model, 'bbox_head'):
            model.bbox_head(features)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return bool(seen)


class _Masks:
    """A forward hook that drops units of each image by its own generator.

    Args:
        draws (sequence[float]): A number in [0, 1) for each of B images.
    """

    def __init__(self, draws: Sequence[float]) -> None:
        seeds = [int(u * 2**53) for u in draws]
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]

    def __call__(self, layer: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        """Drop units of x, [B, …] or [B·k, …] with k rows an image."""
        if layer.p >= 1:
            return torch.zeros_like(x)
        keep = self._draw(_unit_shape(layer, x), layer.p)
        return x * keep.to(x.device) / (1 - layer.p)

    def _draw(self, shape: Sequence[int], p: float) -> Tensor:
        rows, left = divmod(shape[0], len(self.generators))
        if left:
            raise ValueError(
                f'a dropout layer got {shape[0]} rows for '
                f'{len(self.generators)} images: DropoutCommittee needs '
                'layers whose inputs begin with the batch.')
        one = (rows, *shape[1:])
        return torch.cat([torch.rand(one, generator=g) >= p
                          for g in self.generators])


def _unit_shape(layer: nn.Module, x: Tensor) -> Sequence[int]:
    """The shape of the mask: channels are dropped as a whole or not."""
    if isinstance(layer, ELEMENTS):
        return x.shape
    return (*x.shape[:2], *[1] * (x.dim() - 2))


@contextmanager
def _dropping(layers: Sequence[nn.Module], masks: _Masks) -> Iterator[None]:
    """Let layers drop units, which in eval mode they do not."""
    handles = [layer.register_forward_hook(masks) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _split_stages(model: nn.Module) -> tuple[list, list]:
    """The stages of the features before the first dropout, and the others."""
    if type(model).extract_feat is not SingleStageDetector.extract_feat:
        return [], [model.extract_feat]
    stages = [model.backbone]
    if model.with_neck:
        stages.append(model.neck)
    first = next(
        (i for i, stage in enumerate(stages) if dropout_layers(stage)),
        len(stages))
    return stages[:first], stages[first:]


def _run(stages: Sequence, x: Union[Tensor, tuple]) -> Union[Tensor, tuple]:
    for stage in stages:
        x = stage(x)
    return x

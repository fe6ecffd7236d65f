"""Several passes of one detector with different units dropped."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Union

import torch
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmal.random_tensors import TensorStreams
from mmal.recorder import Recorder
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
    masks of an image follow from (seed, round, image id, pass) alone, the same
    on every device.

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
        # what comes before the first dropout is the same in every pass
        fixed, random = _split_stages(model)
        x = _run(fixed, batch.inputs)
        layers = dict(enumerate(dropout_layers(model)))
        for number in range(self.passes):
            masks = DropoutMasks(
                TensorStreams(batch.ids, self.seed, self.round, 'dropout',
                              number))
            # in eval mode the layers themselves return what they get
            with Recorder(layers, lambda call, masks=masks: masks(
                    call.module, call.output)):
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
    training = model.training
    try:
        with Recorder(dict(enumerate(layers))) as recorder:
            features = model.eval().extract_feat(blank_inputs(model))
            if hasattr(model, 'bbox_head'):
                model.bbox_head(features)
    finally:
        model.train(training)
    return bool(recorder.calls)


class DropoutMasks:
    """Drops units of each image of a batch, by random numbers of its own.

    What an image loses does not depend on the images beside it. The
    probability p is rounded to a multiple of 1 / 65,536.

    Args:
        streams (TensorStreams): Of the B images.
    """

    def __init__(self, streams: TensorStreams) -> None:
        self.streams = streams

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What a dropout layer would return in training mode.

        Args:
            layer (nn.Module): One of :data:`ELEMENTS`, which drop elements,
                or of :data:`CHANNELS`, which drop channels as a whole.
            x (Tensor): [B, …], or [B * k, …] with k rows an image.

        Returns:
            Tensor: Shape and dtype of x: 0, or x / (1 - p).

        Raises:
            ValueError: If the rows cannot be shared out to B images.
        """
        if layer.p >= 1:
            return torch.zeros_like(x)
        rows, left = divmod(len(x), len(self.streams))
        if left:
            raise ValueError(
                f'a dropout layer got {len(x)} rows for '
                f'{len(self.streams)} images: DropoutCommittee needs '
                'layers whose inputs begin with the batch.')
        units = x.shape[1:]
        if not isinstance(layer, ELEMENTS):
            units = (*x.shape[1:2], *[1] * (x.dim() - 2))
        keep = self.streams.bernoulli(1 - layer.p, (rows, *units), x.device)
        return x * keep.flatten(0, 1) / (1 - layer.p)


def _split_stages(model: nn.Module) -> tuple[list, list]:
    """The stages of the features before the first dropout, and the others."""
    # an extract_feat of the detector's own may do anything: run it whole
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

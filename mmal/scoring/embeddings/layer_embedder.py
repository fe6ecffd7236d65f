"""Embeddings from any layers of the detector, e.g. the towers of a head."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Union

import torch
from torch import Tensor, nn

from mmal.models.utils import blank_image
from mmal.recorder import ModuleCall, Recorder, is_hooked
from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch
from .base import BaseEmbedder, Extractor, backbone_of, is_same_tensor

_KEY = 'active_learning.embedder.layers'


@TASK_UTILS.register_module()
class LayerEmbedder(BaseEmbedder):
    """The averages of what some layers of the detector give, joined.

    "Influence Selection for Active Learning", appendix D.2, takes core-set's
    embeddings from the ends of both towers of FCOS. A layer's maps are
    averaged over their positions, and these averages over the levels of the
    pyramid, each of which counts the same; the numbers of all layers are
    joined in the order of ``layers``.

    They are read in the forward pass that scores. Cost: a forward pass of
    each image where the scorer makes none of the whole detector, changes
    images or layers, or watches layers itself (ISAL), and for the labelled
    images.

    Args:
        layers (str | sequence[str]): Names of modules whose outputs are maps
            [B, D, H, W], or sequences of them: each level of a module that is
            called once for each, or all levels of e.g. 'neck'.

    Raises:
        ValueError: If no layer is named.

    Examples:
        >>> towers = LayerEmbedder(
        ...     ('bbox_head.cls_convs.3', 'bbox_head.reg_convs.3'))
    """

    def __init__(self, layers: Union[str, Sequence[str]]) -> None:
        self.layers = (layers, ) if isinstance(layers, str) else tuple(layers)
        if not self.layers:
            raise ValueError(
                f'{_KEY} is empty: name modules of the detector, e.g. '
                "('bbox_head.cls_convs.3', 'bbox_head.reg_convs.3').")

    def check(self, model: nn.Module) -> None:
        """Try the layers on a blank image.

        Args:
            model (nn.Module): The detector in eval mode.

        Raises:
            ValueError: If it lacks a layer or a backbone, or a layer is not
                called or gives no maps.
        """
        self.attach(model)

    def attach(self, model: nn.Module) -> LayerExtractor:
        """What gives embeddings inside a ``with``.

        Args:
            model (nn.Module): The detector in eval mode; a blank image passes
                through it.
        """
        return LayerExtractor(model, self.layers)


class LayerExtractor(Extractor):
    """Watches the outputs of layers of a model.

    Args:
        model (nn.Module): A detector in eval mode.
        layers (sequence[str]): Names of its modules.

    Raises:
        ValueError: See :meth:`LayerEmbedder.check`.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        self._model = model
        self._passes = Recorder(
            {'backbone': backbone_of(model)}, on_start=self._begin)
        known = dict(model.named_modules())
        for name in layers:
            if name not in known:
                near = get_close_matches(name, known, 3)
                hint = f'did you mean {", ".join(map(repr, near))}?' \
                    if near else 'see model.named_modules().'
                raise ValueError(
                    f'{_KEY} names {name!r}, which {type(model).__name__} '
                    f'does not have: {hint}')
        self._recorder = Recorder({n: known[n] for n in layers}, self._look)
        # Averages [B, D] of the levels of each layer, of the pass that is
        # going on or was the last; whether this pass counts, and whether it
        # is one of our own.
        self._averages: dict[str, list[Tensor]] = {n: [] for n in layers}
        self._open = self._forced = False
        # How many maps each layer gives in a pass: only with all of them is
        # an embedding complete, and a scorer may stop after the backbone.
        inputs, sample = blank_image(model)
        self._batch = Batch([0], inputs, [sample])
        with self:
            self._run()
        self._number = {n: len(v) for n, v in self._averages.items()}
        for name, number in self._number.items():
            if not number:
                raise ValueError(
                    f'{_KEY} names {name!r}, which does nothing when '
                    f'{type(model).__name__} detects: name a layer of its '
                    'forward pass.')

    def __enter__(self) -> LayerExtractor:
        self._passes.__enter__()
        self._recorder.__enter__()
        return self

    def __exit__(self, *args) -> None:
        self._recorder.__exit__(*args)
        self._passes.__exit__(*args)

    def set_batch(self, batch: Batch) -> None:
        """Say which batch the next forward passes are about."""
        self._batch = batch
        self._forget()

    def embedding(self) -> Tensor:
        """float32 [B, D] of the batch that was set, D over all layers.

        The detector is run here if it has not seen the batch since, or not as
        it is: in training mode, or with hooks of others.
        """
        if not self._complete():
            self._run()
        return torch.cat([torch.stack(levels).mean(0)
                          for levels in self._averages.values()], 1)

    def _forget(self) -> None:
        self._averages = {n: [] for n in self._averages}
        self._open = False

    def _complete(self) -> bool:
        return all(len(levels) >= self._number[n]
                   for n, levels in self._averages.items())

    @torch.no_grad()
    def _run(self) -> None:
        self._forget()
        self._open = self._forced = True
        samples = [sample.new() for sample in self._batch.samples]
        try:
            self._model(self._batch.inputs, samples, mode='tensor')
        finally:
            self._open = self._forced = False

    def _begin(self, call: ModuleCall) -> None:
        """A forward pass begins: whether it is of the batch that was set."""
        if self._forced or self._complete():
            return
        # A pass that did not reach all layers leaves nothing to the next one.
        self._forget()
        ours = self._passes, self._recorder
        disturbed = any(m.training or is_hooked(m, apart_from=ours)
                        for m in self._model.modules())
        self._open = bool(call.args) and not disturbed and \
            is_same_tensor(call.args[0], self._batch.inputs)

    def _look(self, call: ModuleCall) -> None:
        """A layer has returned: average its levels."""
        if not self._open:
            return
        levels = call.output
        if isinstance(levels, Mapping):
            levels = list(levels.values())
        if not isinstance(levels, (list, tuple)):
            levels = [levels]
        averages, batch = self._averages[call.name], len(self._batch)
        for level in levels:
            # Calls after a complete pass are another one's, of the head alone.
            if not self._forced and \
                    len(averages) >= self._number[call.name]:
                return
            if not torch.is_tensor(level) or level.dim() != 4 or \
                    len(level) != batch:
                what = list(level.shape) if torch.is_tensor(level) else \
                    type(level).__name__
                raise ValueError(
                    f'{_KEY}: {call.name!r} gives {what} for {batch} image(s),'
                    ' not maps [B, D, H, W], whose average an embedding is: '
                    'name another layer.')
            averages.append(level.detach().float().mean((2, 3)))

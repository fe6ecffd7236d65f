"""Gradients by the output layers of a one-stage head, image by image."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

import torch
from mmdet.models.dense_heads import YOLOV3Head
from torch import Tensor, nn

from mmal.influence.weight_gradients import (
    image_weight_gradients,
    patch_squares,
)
from mmal.models.utils import level_grid
from mmal.models.utils.per_image import map_outputs
from mmal.recorder import Recorder
from mmal.types import Outputs
from mmal.uncertainty import at_least_float32
from .probabilities import class_probabilities

_OBJECTNESS = 'multi_level_conv_obj'  # of YOLOX


@torch.no_grad()
def class_layer_gradients(
        model: nn.Module, features: Sequence[Tensor], names: Sequence[str],
        loss: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Gradients of each image's loss by the class output layers.

    One pass of the head; the loss is differentiated by the raw outputs alone.

    Args:
        model (nn.Module): A single-stage detector.
        features (sequence[Tensor]): Of backbone and neck, B images.
        names (sequence[str]): From :func:`output_layers`.
        loss (callable): From class probabilities [B, P, C] to [B].

    Returns:
        dict[str, Tensor]: Layer to [B, C_out, K], see
        :func:`mmal.influence.weight_gradients.image_weight_gradients`.
    """
    head = model.bbox_head
    with _layer_recorder(head, names) as recorder:
        outputs = head(features)
    by_output = _raw_gradients(model, outputs, loss)
    of_layers: dict[str, Tensor] = {}
    for call in recorder.calls:
        grad = image_weight_gradients(call.module, call.args[0],
                                      by_output[id(call.output)])
        # A layer is called once a level of the pyramid.
        of_layers[call.name] = of_layers[call.name] + grad \
            if call.name in of_layers else grad
    return of_layers


@torch.no_grad()
def position_norms(model: nn.Module,
                   features: Sequence[Tensor],
                   names: Sequence[str],
                   loss: Callable[[Tensor], Tensor],
                   class_index: Optional[int] = None) -> Tensor:
    """Norm of the gradient of each position's own loss.

    Args:
        model (nn.Module): A single-stage detector.
        features (sequence[Tensor]): Of backbone and neck, B images.
        names (sequence[str]): From :func:`output_layers`.
        loss (callable): From class probabilities [B, P, C] to [B], the sum
            over the positions.
        class_index (int, optional): Of the rows of this class alone.

    Returns:
        Tensor: [B, P] in mmdet's order.
    """
    head = model.bbox_head
    with _layer_recorder(head, names) as recorder:
        outputs = head(features)
    by_output = _raw_gradients(model, outputs, loss)
    anchors = [n for *_, n in level_grid(head, outputs)]
    level_of = {id(x): i for maps in outputs for i, x in enumerate(maps)}
    squares = [torch.zeros(())] * len(anchors)
    for call in recorder.calls:
        level, grad = level_of[id(call.output)], by_output[id(call.output)]
        # A position's gradient by a channel is what the layer sees there times
        # one number, so its norm needs no gradient to be formed.
        rows = grad.square()
        if class_index is None:
            rows = rows.unflatten(1, (anchors[level], -1)).sum(2)
        else:
            rows = class_rows(head, call.name, rows)
            if rows is None:
                continue
            rows = rows[:, class_index]
        rows = rows * patch_squares(call.module,
                                    call.args[0].to(grad.dtype))
        squares[level] = rows.permute(0, 2, 3, 1).flatten(1) + \
            squares[level].to(rows)
    return torch.cat(squares, 1).sqrt()


@torch.no_grad()
def output_layers(model: nn.Module, features: Sequence[Tensor]) -> list[str]:
    """The convolutions of a head whose outputs are the raw class outputs.

    Args:
        model (nn.Module): A single-stage detector.
        features (sequence[Tensor]): Of backbone and neck; one image is
            enough.

    Returns:
        list[str]: Their names in the head.

    Raises:
        ValueError: If something comes between the last convolution and the
            raw outputs.
    """
    head = model.bbox_head
    convs = [n for n, m in head.named_modules() if isinstance(m, nn.Conv2d)]
    with _layer_recorder(head, convs) as recorder:
        outputs = head(features)
    # The raw outputs that matter to any class must be, as they are, what a
    # convolution returned: then its gradient follows from theirs.
    needed = _raw_gradients(model, outputs, lambda p: p.flatten(1).sum(1))
    made = {id(call.output): call.name for call in recorder.calls}
    if not needed.keys() <= made.keys():
        raise ValueError(
            'active_learning.scorer needs heads whose class outputs come '
            f'straight from convolutions; those of {type(head).__name__} do '
            'not: choose another scorer.')
    return sorted({made[i] for i in needed})


def class_rows(head: nn.Module, layer: str, rows: Tensor) -> Optional[Tensor]:
    """The raw output channels of a layer, sorted by the class they are of.

    A view: masks by class would make a GPU wait once for each of them.

    Args:
        head (nn.Module): A head that :func:`class_probabilities` knows, with
            no method of its own for them.
        layer (str): The name of an output layer in it.
        rows (Tensor): [B, C_out, ...], something of each of its channels.

    Returns:
        Tensor | None: [B, num_classes, A, ...], A anchors; without the
        channels of objectness, boxes and background. None if there are no
        others.
    """
    if layer.startswith(_OBJECTNESS):
        return None
    if isinstance(head, YOLOV3Head):
        # of each anchor the box, the objectness and then the classes
        first, width = 5, head.num_attrib
    else:
        first, width = 0, head.cls_out_channels
    of_anchors = rows.unflatten(1, (-1, width)).transpose(1, 2)
    return of_anchors[:, first:first + head.num_classes]


def _raw_gradients(model: nn.Module, outputs: Outputs,
                   loss: Callable[[Tensor], Tensor]) -> dict[int, Tensor]:
    """Gradient by each raw output that counts, by the id of the output."""
    # Differentiated by copies of the outputs: the graph then begins behind the
    # head, and nothing of it is kept.
    raw, leaves = [], []

    def leaf(x: Tensor) -> Tensor:
        raw.append(x)
        leaves.append(at_least_float32(x.detach()).requires_grad_())
        return leaves[-1]

    with torch.enable_grad():
        probs = class_probabilities(
            model, map_outputs(leaf, outputs), background=True)
        grads = torch.autograd.grad(
            loss(probs).sum(), leaves, allow_unused=True)
    return {id(x): g for x, g in zip(raw, grads) if g is not None}


def _layer_recorder(head: nn.Module, names: Sequence[str]) -> Recorder:
    return Recorder({name: head.get_submodule(name) for name in names})

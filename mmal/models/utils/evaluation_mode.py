"""A model ready to score: in eval mode, the same everywhere, and as precise as
wanted."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from mmdet.models.roi_heads import BaseRoIHead
from mmengine.dist import broadcast
from torch import Tensor, nn

from mmal.compat.losses import local_losses
from .last_layers import last_layers
from .patch_forward import patch_forward
from .per_image import map_outputs

PRECISIONS = ('fp32', 'tf32', 'bf16')


@contextmanager
def evaluation_mode(model: nn.Module,
                    precision: str = 'fp32',
                    others: Sequence[nn.Module] = ()) -> Iterator[None]:
    """A model in eval mode, the same in every process.

    Args:
        model (nn.Module): Its mode is restored after; the buffers stay those
            of process 0.
        precision (str): See :func:`forward_precision`.
        others (sequence[nn.Module]): Models in eval mode that are asked as
            well, those of a committee.
    """
    was_training = model.training
    model.eval()
    # or a score would depend on which process saw the image
    share_buffers(model)
    try:
        with local_losses(), forward_precision([model, *others], precision):
            yield
    finally:
        model.train(was_training)


def share_buffers(model: nn.Module) -> None:
    """Give every process the batch norm statistics of process 0.

    Distributed training leaves each process its own, and only those of
    process 0 are in the checkpoint.

    Args:
        model (nn.Module): Its buffers are changed in place.
    """
    for buffer in model.buffers():
        broadcast(buffer)


@contextmanager
def forward_precision(models: Sequence[nn.Module],
                      precision: str) -> Iterator[None]:
    """What the forward passes of float32 detectors are computed in.

    With 'bf16' their parts (backbone, neck, heads, …) run under autocast and
    return float32. In float32 stay the layers that give a detector's outputs
    (:func:`last_layers`), as a rounded output would be a rounded score, box
    and gradient; and all that is no forward pass: losses, decoding, NMS and
    the influence maths.

    Args:
        models (sequence[nn.Module]): Detectors or classifiers, in eval mode.
            Copies that are made inside run alike.
        precision (str): 'fp32', with 23 bits of mantissa; 'tf32', which
            GPUs alone know, with 10 in all products of torch; or 'bf16',
            with 7.

    Raises:
        ValueError: If it is none of these, or a detector has no such layers.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'the precision is {precision!r}: choose one of '
                         f'{", ".join(map(repr, PRECISIONS))}.')
    forwards: dict[nn.Module, Callable] = {}
    for model in models if precision == 'bf16' else ():
        for part in _parts(model):
            forwards[part] = partial(_reduced, part, part.forward)
        for name in last_layers(model):
            layer = model.get_submodule(name)
            forwards[layer] = partial(_exact, layer, layer.forward)
    with patch_forward(forwards), _tf32(precision == 'tf32'):
        yield


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """The networks that a detector calls one after another."""
    for child in model.children():
        # never called themselves, what is in them is
        if isinstance(child, (nn.ModuleList, BaseRoIHead)):
            yield from _parts(child)
        # Not single layers: they cost little and give reference points.
        elif len(list(child.modules())) > 1 and any(
                True for _ in child.parameters()) and not getattr(
                    child, 'full_precision', False):
            yield child


# Functions that are given the module, not closures: a deep copy of a model
# then has forward methods of its own.
def _reduced(module: nn.Module, forward: Callable, *args, **kwargs) -> Any:
    device = next(module.parameters()).device.type
    with torch.autocast(device, torch.bfloat16):
        return map_outputs(_to_single, forward(*args, **kwargs))


def _exact(module: nn.Module, forward: Callable, *args, **kwargs) -> Any:
    device = next(module.parameters()).device.type
    kwargs = {name: map_outputs(_to_single, x) for name, x in kwargs.items()}
    with torch.autocast(device, enabled=False):
        return forward(*map_outputs(_to_single, args), **kwargs)


def _to_single(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def full_precision() -> AbstractContextManager:
    """TensorFloat-32 is off inside.

    With its 10 bits, scores would depend visibly on the batch size.
    """
    return _tf32(False)


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    # these switches exist without a GPU too, but do not do anything
    if not torch.cuda.is_available():
        yield
        return
    name, inside = 'allow_tf32', on
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        before = [getattr(switch, name) for switch in switches]
    except RuntimeError:
        # torch 2.9 and newer, where the user has set its newer switches: the
        # two kinds must not be mixed
        name, inside = 'fp32_precision', 'tf32' if on else 'ieee'
        switches = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn,
                    torch.backends.cuda.matmul)
        before = [getattr(switch, name) for switch in switches]
    try:
        for switch in switches:
            setattr(switch, name, inside)
        yield
    finally:
        for switch, value in zip(switches, before):
            setattr(switch, name, value)

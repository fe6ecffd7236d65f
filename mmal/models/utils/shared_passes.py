"""Several readers of one batch share the forward passes of a model."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmal.recorder import is_hooked
from .patch_forward import patch_forward
from .per_image import map_outputs

# parts of a detector that are called once in a plain pass
_PARTS = ('backbone', 'neck', 'rpn_head', 'bbox_head')


@contextmanager
def shared_passes(model: nn.Module) -> Iterator[None]:
    """Inside, a part of a detector that is called again with the very tensors
    of its last call gives what it gave then.

    Parts are the backbone, the neck and the dense heads. Shared is only what
    is the same for sure: calls without gradients, in eval mode, and with no
    hooks inside, which would otherwise not be called (hooks of the part
    itself are) and may change an output. All else runs as if nobody shared.
    What the backbone and the neck gave is held in memory until the next batch
    passes them or the ``with`` is left.

    Args:
        model (nn.Module): A detector. What its heads return is handed out as
            copies, as decoding may change it in place.
    """
    forwards: dict[nn.Module, Callable] = {}
    for name in _PARTS:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module) and not isinstance(
                part, nn.ModuleList):
            forwards[part] = partial(
                _once, part, part.forward, [], name.endswith('head'))
    with patch_forward(forwards):
        yield


def _once(module: nn.Module, forward: Callable, last: list, copies: bool,
          *args, **kwargs) -> Any:
    """``forward``, or what it returned where ``last`` has the same call."""
    inner = (m for m in module.modules() if m is not module)
    if kwargs or torch.is_grad_enabled() or module.training or any(
            m.training or is_hooked(m) for m in inner):
        return forward(*args, **kwargs)
    tensors = _tensors(args)
    if last and len(last[0]) == len(tensors) and all(
            a is b for a, b in zip(last[0], tensors)):
        output = last[1]
    else:
        output = forward(*args)
        # the tensors themselves are kept: the memory of one that is gone may
        # be that of another
        last[:] = [tensors, output] if tensors else []
    return map_outputs(Tensor.clone, output) if copies else output


def _tensors(args: Sequence) -> list[Tensor]:
    """All tensors of nested arguments; none where something else is among
    them."""
    tensors: list[Tensor] = []
    for arg in args:
        if torch.is_tensor(arg):
            tensors.append(arg)
        elif isinstance(arg, (list, tuple)) and arg and (
                inside := _tensors(arg)):
            tensors += inside
        else:
            return []
    return tensors

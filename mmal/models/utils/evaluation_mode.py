"""A model ready to score: in eval mode, the same everywhere, and precise."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import broadcast
from torch import nn

from mmal.compat.losses import local_losses


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """A model in eval mode, the same in every process, without TF32 inside.

    Args:
        model (nn.Module): Its mode is restored after; the buffers stay those
            of process 0.
    """
    was_training = model.training
    model.eval()
    # or a score would depend on which process saw the image
    share_buffers(model)
    try:
        with local_losses(), full_precision():
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
def full_precision() -> Iterator[None]:
    """Switch TensorFloat-32 off.

    With its 10 bits, scores would depend visibly on the batch size.
    """
    # these switches exist without a GPU too, but do not do anything
    if not torch.cuda.is_available():
        yield
        return
    name, off = 'allow_tf32', False
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        before = [getattr(switch, name) for switch in switches]
    except RuntimeError:
        # torch 2.9 and newer, where the user has set its newer switches: the
        # two kinds must not be mixed
        name, off = 'fp32_precision', 'ieee'
        switches = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn,
                    torch.backends.cuda.matmul)
        before = [getattr(switch, name) for switch in switches]
    try:
        for switch in switches:
            setattr(switch, name, off)
        yield
    finally:
        for switch, value in zip(switches, before):
            setattr(switch, name, value)

"""The same images as another detector expects them."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_SAME = ('pad_size_divisor', 'pad_value')


def check_preprocessors(source: nn.Module, target: nn.Module) -> None:
    """Raise a ValueError unless :func:`renormalise` can translate.

    Args:
        source (nn.Module): mmdet's ``DetDataPreprocessor`` of a detector.
        target (nn.Module): That of another.
    """
    if type(source) is not type(target):
        raise ValueError(
            f'its data_preprocessor is a {type(target).__name__}, that of the '
            f'model a {type(source).__name__}: they must be of one type.')
    for name in _SAME:
        ours, theirs = getattr(source, name), getattr(target, name)
        if ours != theirs:
            raise ValueError(
                f'its data_preprocessor.{name} is {theirs}, that of the model '
                f'{ours}: make them equal.')


def renormalise(inputs: Tensor, samples: Sequence, source: nn.Module,
                target: nn.Module) -> Tensor:
    """Undo a detector's normalisation of its inputs and do another's.

    Args:
        inputs (Tensor): [B, 3, H, W], from ``source``.
        samples (sequence[DetDataSample]): B samples; what lies outside their
            ``img_shape`` is padding.
        source (nn.Module): mmdet's ``DetDataPreprocessor`` of a detector.
        target (nn.Module): That of another; see :func:`check_preprocessors`.

    Returns:
        Tensor: [B, 3, H, W], equal to what ``target`` makes of the images up
        to rounding; ``inputs`` itself where both are the same.
    """
    like = torch.zeros(())  # on the CPU: the two may be on different devices
    pairs = zip(statistics(source, like), statistics(target, like))
    flipped = source._channel_conversion != target._channel_conversion
    if not flipped and all(torch.equal(a, b) for a, b in pairs):
        return inputs
    mean, std = statistics(source, inputs)
    pixels = inputs * std + mean
    if flipped:
        pixels = pixels.flip(1)
    mean, std = statistics(target, inputs)
    # padding is added after normalising, so it is not translated but redone
    shapes = torch.tensor([s.img_shape[:2] for s in samples],
                          device=inputs.device)
    height, width = shapes.T[..., None, None, None]
    rows = torch.arange(inputs.size(2), device=inputs.device)[:, None]
    columns = torch.arange(inputs.size(3), device=inputs.device)
    padding = (rows >= height) | (columns >= width)
    return ((pixels - mean) / std).masked_fill(padding, target.pad_value)


def statistics(preprocessor: nn.Module, like: Tensor) -> list[Tensor]:
    """What a detector's images are normalised with.

    Args:
        preprocessor (nn.Module): mmdet's ``DetDataPreprocessor``.
        like (Tensor): Gives device and type.

    Returns:
        list[Tensor]: Mean and standard deviation, both [3, 1, 1]; 0 and 1
        where it does not normalise.
    """
    if not preprocessor._enable_normalize:
        return [like.new_zeros(3, 1, 1), like.new_ones(3, 1, 1)]
    return [x.to(like).expand(3, 1, 1)
            for x in (preprocessor.mean, preprocessor.std)]

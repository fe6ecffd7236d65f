"""Random tensors that are the same on every device.

The generators of torch hand out other numbers on a GPU than on a CPU, and
numbers drawn on the CPU keep a GPU waiting. Here a number is computed from
its position and the stream it belongs to, in whole numbers, whose arithmetic
every device does alike.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from .randomness import Key, seeded_uniform

CPU = torch.device('cpu')
_STEPS = 2**16  # values of a number: a word of 64 bits gives four


class TensorStreams:
    """An endless sequence of random numbers for each image of a batch.

    SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014), by position: word k of a stream is a hash of
    ``start + k * gamma``, with both from the image's id and the key. Some 14
    operations on whole tensors, whatever the number of images; Philox, which
    torch uses on GPUs, would take 120.

    A number has 16 bits. Each call goes on where the last one ended.

    Args:
        ids (Iterable[int | str]): B image ids. What an image gets does not
            depend on the others.
        *key (int | str): What the numbers are for, e.g. a seed, a round and
            a word.

    Examples:
        >>> TensorStreams(['a', 'b'], 0).normal((3, )).shape
        torch.Size([2, 3])
    """

    def __init__(self, ids: Iterable[Key], *key: Key) -> None:
        ids = list(ids)
        words = [
            (seeded_uniform(ids, *key, word) * 2.0**53).astype(np.int64) << 11
            for word in ('start', 'gamma')]
        # Each stream has steps of its own, so that two streams which come by
        # one number part again. The steps are odd, so none comes by it twice.
        # The lower bits, which the hash of an id leaves 0, count.
        words[0] ^= words[1] >> 32
        words[1] ^= words[0] >> 32
        words[1] |= 1
        self._start, self._gamma = torch.from_numpy(np.stack(words))[..., None]
        self._position = 0

    def __len__(self) -> int:
        return len(self._start)

    def bits(self, shape: Sequence[int],
             device: torch.device = CPU) -> Tensor:
        """The next numbers of each stream.

        Args:
            shape (sequence[int]): What each image gets.
            device (torch.device): Where to; the numbers are equal on all.

        Returns:
            Tensor: int16 [B, *shape], all 65,536 values equally likely.
        """
        count = math.prod(shape)
        words = -(-count // 4)
        if device != self._start.device:
            self._start, self._gamma = torch.stack(
                [self._start, self._gamma]).to(device)
        k = torch.arange(self._position, self._position + words,
                         device=device)
        self._position += words
        z = k * self._gamma
        z += self._start
        for shift, factor in ((30, -0x40A7B892E31B1A47),
                              (27, -0x6B2FB644ECCEEE15), (31, None)):
            # int64 has no shift that fills with zeros
            z ^= (z >> shift).bitwise_and_(2**(64 - shift) - 1)
            if factor is not None:
                z *= factor  # as two's complement, overflowing
        return z.view(torch.int16)[:, :count].reshape(len(self), *shape)

    def uniform(self, shape: Sequence[int],
                device: torch.device = CPU) -> Tensor:
        """Uniform numbers of 32 bits.

        Args:
            shape (sequence[int]): What each image gets.
            device (torch.device): See :meth:`bits`.

        Returns:
            Tensor: float64 [B, *shape], in (0, 1).
        """
        bits = self.bits((*shape, 2), device).contiguous()
        return (bits.view(torch.int32)[..., 0].double() + 0.5) / 2**32 + 0.5

    def bernoulli(self, p: float, shape: Sequence[int],
                  device: torch.device = CPU) -> Tensor:
        """True with a probability.

        Args:
            p (float): The probability, in [0, 1]; rounded to a multiple of
                1 / 65,536.
            shape (sequence[int]): What each image gets.
            device (torch.device): See :meth:`bits`.

        Returns:
            Tensor: bool [B, *shape].
        """
        bits = self.bits(shape, device)
        highest = round(p * _STEPS) - 1 - _STEPS // 2
        if highest < -_STEPS // 2:
            return torch.zeros_like(bits, dtype=torch.bool)
        return bits <= highest

    def normal(self, shape: Sequence[int],
               device: torch.device = CPU) -> Tensor:
        """Normally distributed numbers, with mean 0 and variance 1.

        Taken from a table of 65,536 quantiles, since logarithms and cosines
        are not rounded alike on all devices. The largest are ±4.3.

        Args:
            shape (sequence[int]): What each image gets.
            device (torch.device): See :meth:`bits`.

        Returns:
            Tensor: float32 [B, *shape].
        """
        places = self.bits(shape, device).long() + _STEPS // 2
        return _quantiles(device)[places]


@functools.lru_cache(8)
def _quantiles(device: torch.device) -> Tensor:
    """float32 [65536], equally likely values with the moments of a normal."""
    middle = (torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS
    values = torch.special.ndtri(middle)
    values = (values - values.flip(0)) / 2  # exactly symmetric
    return (values / values.square().mean().sqrt()).float().to(device)

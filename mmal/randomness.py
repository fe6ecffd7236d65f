"""Random numbers that depend on what they belong to, not on its position.

A generator hands out numbers in the order it is asked, so a pool read in
another order, or split over processes, would get other ones. Here the number
of an image is a hash of its id and a key such as (seed, round).
"""
from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable
from itertools import islice
from typing import Optional, Union

import numpy as np

Key = Union[int, str]

_BITS = 53  # a float64 holds 53 bits: the largest value is 1 - 2**-53


def seeded_uniform(ids: Iterable[Key], *key: Key) -> np.ndarray:
    """One uniform number for each id, the same whatever the others are.

    Args:
        ids (Iterable[int | str]): N image ids. The int 7 and the string
            '7' are different ids; numpy integers equal python's.
        *key (int | str): What the numbers are for, e.g. a seed, a round and
            a word. Other keys give independent numbers.

    Returns:
        np.ndarray: float64 of shape [N], in [0, 1). Equal on every platform.

    Raises:
        TypeError: If an id or a part of the key is neither int nor str.

    Examples:
        >>> seeded_uniform([7, 'cat'], 0, 'initial').round(4).tolist()
        [0.9401, 0.773]
    """
    prefix = hashlib.blake2b(digest_size=8)
    for value in key:
        prefix.update(_encode(value))
    encoded = map(_encode, ids)
    # some at a time: a million digests take a hundred megabytes
    parts = [_uniform(prefix, part)
             for part in iter(lambda: list(islice(encoded, 2**16)), [])]
    return np.concatenate(parts) if parts else np.empty(0)


def seeded_order(ids: Iterable[Key], *key: Key,
                 first: Optional[int] = None) -> list[Key]:
    """The ids in a random order that their order in ``ids`` does not change.

    Args:
        ids (Iterable[int | str]): N different ids.
        *key (int | str): See :func:`seeded_uniform`.
        first (int, optional): Only so many of them, in less time.

    Returns:
        list[int | str]: The same N ids, shuffled; or the first of these.
    """
    ids = list(ids)
    values = seeded_uniform(ids, *key)
    at = np.arange(len(ids))
    if first is not None and 0 < first < len(ids):
        # with all that are equal to the last of them
        at = np.flatnonzero(
            values <= np.partition(values, first - 1)[first - 1])
    names = (_encode(ids[n]) for n in at)  # settles equal values
    return [ids[n] for _, _, n in sorted(
        zip(values[at].tolist(), names, at.tolist()))][:first]


class SeededStreams:
    """A sequence of random numbers for each id, whatever the others are.

    The k-th number of an id is computed directly from k and a hash of the id
    by the finaliser of SplitMix64 (Steele, Lea & Flood 2014), much faster
    than a new hash.

    Args:
        ids (Iterable[int | str]): N ids.
        *key (int | str): What the numbers are for.
    """

    def __init__(self, ids: Iterable[Key], *key: Key) -> None:
        uniform = seeded_uniform(ids, *key)
        # 53 random bits on top: what is added below does not reach them soon
        self._state = (uniform * 2.0**_BITS).astype(np.uint64) << np.uint64(
            64 - _BITS)

    def exponential(self, k: int) -> np.ndarray:
        """The k-th numbers, exponentially distributed with mean 1.

        Args:
            k (int): Which ones, >= 0.

        Returns:
            np.ndarray: float64 [N], finite and > 0.
        """
        # all in place: k-means++ asks for [N] numbers at every pick
        bits = self._bits(k)
        bits >>= np.uint64(64 - _BITS)
        uniform = bits.astype(np.float64)
        uniform += 0.5  # the middle of each step: never 0, whose log is -inf
        uniform *= 2.0**-_BITS  # in (0, 1)
        np.log(uniform, out=uniform)
        return np.negative(uniform, out=uniform)

    def _bits(self, k: int) -> np.ndarray:
        """The k-th numbers as uint64 [N]."""
        # the k-th state of SplitMix64, without the k states before it
        step = (k + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = self._state + np.uint64(step)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9),
                              (27, 0x94D049BB133111EB)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
        return z


def _encode(value: Key) -> bytes:
    """Bytes that no other int or str has, nor any two of them in a row."""
    if isinstance(value, str):
        raw = b's' + value.encode('utf-8', 'surrogatepass')
    else:
        raw = b'i%d' % operator.index(value)
    return b'%d:' % len(raw) + raw


def _uniform(prefix, encoded: Iterable[bytes]) -> np.ndarray:
    """float64 [N], the first 53 bits of N hashes."""
    digests = []
    for part in encoded:
        h = prefix.copy()
        h.update(part)
        digests.append(h.digest())
    bits = np.frombuffer(b''.join(digests), '>u8') >> np.uint64(64 - _BITS)
    return bits.astype(np.float64) * 2.0**-_BITS

"""Random numbers that depend on what they belong to, not on its position.

A generator hands out numbers in the order it is asked, so a pool read in
another order, or split over processes, would get other ones. Here the number
of an image is a hash of its id and a key such as (seed, round).
"""
from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable
from typing import Union

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
    for part in key:
        prefix.update(_encode(part))
    values = [_bits(prefix, _encode(i)) for i in ids]
    return np.array(values, dtype=np.float64) * 2.0**-_BITS


def seeded_order(ids: Iterable[Key], *key: Key) -> list[Key]:
    """The ids in a random order that their order in ``ids`` does not change.

    Args:
        ids (Iterable[int | str]): N different ids.
        *key (int | str): See :func:`seeded_uniform`.

    Returns:
        list[int | str]: The same N ids, shuffled.
    """
    ids = list(ids)
    values = seeded_uniform(ids, *key).tolist()
    names = (_encode(i) for i in ids)  # settles equal values
    return [i for _, _, i in sorted(
        zip(values, names, ids), key=operator.itemgetter(0, 1))]


def _encode(part: Key) -> bytes:
    """Bytes that no other int or str has, nor any two parts in a row."""
    if isinstance(part, str):
        raw = b's' + part.encode('utf-8', 'surrogatepass')
    else:
        raw = b'i%d' % operator.index(part)
    return b'%d:' % len(raw) + raw


def _bits(prefix, encoded: bytes) -> int:
    h = prefix.copy()
    h.update(encoded)
    return int.from_bytes(h.digest(), 'big') >> (64 - _BITS)

"""Greedy k-center where a distance is no difference of two vectors."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Union

import numpy as np
import torch
from torch import Tensor

from mmal.randomness import seeded_uniform
from mmal.scores import Scores


def first_centre(scores: Scores, rows: np.ndarray, start: str,
                 *key: Union[int, str]) -> int:
    """The image to begin with where none is labelled.

    Args:
        scores (Scores): Scores of N images.
        rows (np.ndarray): int64 [M], which of them are there to choose from,
            by their tiebreaks; M >= 1.
        start (str): 'best', the highest score, or 'random'.
        *key (int | str): Of the random numbers: seed, round, seed key.

    Returns:
        int: A position among ``rows``.
    """
    if start == 'best':
        return int(np.argmax(scores.values[rows]))
    return int(np.argmin(seeded_uniform(
        [scores.ids[i] for i in rows], *key, 'first centre')))


def farthest_first(distances: Callable[[int], Tensor], chosen: Sequence[int],
                   number: int) -> Iterator[int]:
    """Positions, each as far from all before it as possible.

    Args:
        distances (callable): From a position to float64 [N], the distances of
            all to it.
        chosen (sequence[int]): Those before the first.
        number (int): N.

    Yields:
        int: All but the chosen ones; of equals the first.
    """
    nearest = torch.full((number, ), torch.inf, dtype=torch.float64)
    left = torch.ones(number, dtype=torch.bool)
    for position in chosen:
        nearest = torch.minimum(nearest, distances(position))
        left[position] = False
    for _ in range(number - len(chosen)):
        position = int(torch.where(left, nearest, -1.).argmax())
        left[position] = False
        yield position
        nearest = torch.minimum(nearest, distances(position))

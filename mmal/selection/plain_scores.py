"""Scores without a run."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from mmal.randomness import seeded_uniform
from .base import ImageId


@dataclass
class PlainScores:
    """What a selector reads of N images, from wherever it comes.

    Args:
        ids (sequence[int | str]): Their names, all different.
        values (sequence[float]): [N], higher = label first; ``-inf``: last.
        tiebreak (sequence[float], optional): [N]; of equal values the
            smallest is first. By default a random number of each id.
        columns (mapping[str, np.ndarray]): More about each image, e.g.
            ``class_scores`` [N, C] for :class:`RoundRobin`.

    Raises:
        ValueError: If lengths differ, an id is there twice, or a value is
            NaN.

    Examples:
        >>> from mmal.selection import TopN
        >>> TopN().select(PlainScores(['a', 'b', 'c'], [.2, .9, .5]), 2)
        ['b', 'c']
    """
    ids: Sequence[ImageId]
    values: np.ndarray
    tiebreak: Optional[np.ndarray] = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = list(self.ids)
        self.values = np.asarray(self.values, np.float64)
        if self.tiebreak is None:
            self.tiebreak = seeded_uniform(self.ids, 'tiebreak')
        self.tiebreak = np.asarray(self.tiebreak, np.float64)
        if len(set(self.ids)) < len(self.ids):
            raise ValueError('an id is there twice: give each image one of '
                             'its own.')
        for name in ('values', 'tiebreak'):
            shape = getattr(self, name).shape
            if shape != (len(self.ids), ):
                raise ValueError(f'{name} has the shape {list(shape)}, but '
                                 f'there are {len(self.ids)} ids.')
        bad = np.flatnonzero(np.isnan(self.values))
        if len(bad):
            raise ValueError(f'the value of image {self.ids[bad[0]]} is NaN.')

"""A selector that sees some of the images only."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Optional, Union

import numpy as np

from mmal.randomness import seeded_uniform
from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, as_selector


@TASK_UTILS.register_module()
class RandomSubset(BaseSelector):
    """Lets a selector choose from some images, drawn at random each round.

    Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, section 4.1
    (10,000 images), so that what is chosen is less alike. When all images of
    the subset are chosen, those that were not drawn follow as the same
    selector puts them.

    Args:
        size (int): Images of the subset, >= 1.
        selector (dict | BaseSelector, optional): Who chooses; it must read
            nothing but scores. Default: ``mmal.TopN``.
        seed (int): Another one draws other images.

    Raises:
        ValueError: If ``size`` is below 1, or the selector needs more than
            scores.

    Examples:
        >>> RandomSubset(6).select([0., 1., 2., 3., 4., 5.], 2)
        [5, 4]
    """

    def __init__(self,
                 size: int,
                 selector: Optional[Union[Mapping, BaseSelector]] = None,
                 seed: int = 0) -> None:
        if size < 1:
            raise ValueError(f'active_learning.selector.size is {size}: give '
                             'a number of images, at least 1.')
        selector = as_selector(
            'RandomSubset',
            dict(type='mmal.TopN') if selector is None else selector)
        if selector.needs_embeddings or selector.needs_class_scores:
            raise ValueError(
                'active_learning.selector.selector is a '
                f'{type(selector).__name__}, which needs more than scores: '
                'RandomSubset serves mmal.TopN and its like.')
        self.size = size
        self.selector = selector
        self.seed = seed
        self.needs_columns = selector.needs_columns
        self.needs_weights = selector.needs_weights
        self.needs_draws = selector.needs_draws

    def with_draws(self, number: Optional[int]) -> RandomSubset:
        """See :meth:`BaseSelector.with_draws`."""
        other = super().with_draws(number)
        other.selector = self.selector.with_draws(number)
        return other

    def prepare(self, round: int) -> None:
        """See :meth:`BaseSelector.prepare`."""
        super().prepare(round)
        self.selector.prepare(round)

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        drawn = seeded_uniform(scores.ids, self.seed, self.round,
                               *self.seed_key, 'subset')
        by_number = np.argsort(drawn, kind='stable')
        # Sorted, so that the selector sees the images in the pool's order.
        subset = np.sort(by_number[:self.size])
        others = np.sort(by_number[self.size:])
        return chain.from_iterable(
            self.selector.order(scores.take(rows))
            for rows in (subset, others))

"""So many images by one value, so many by another, in turn."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from numbers import Integral
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, as_selector


@TASK_UTILS.register_module()
class Quota(BaseSelector):
    """Lets several values of an image choose in turn, some more often.

    The values are columns of the scores: the parts of a
    :class:`~mmal.scoring.CombinedScorer`, or what another scorer tells of
    each image. For each the images are ranked by the selector, which is given
    the column in place of the scores. With ``shares=dict(a=3, b=1)`` three of
    the first four images are chosen by ``a`` and one by ``b``, and so are
    those of the next four. They are mixed evenly: the next turn has the
    column with the smallest ``(2 t + 1) / share`` after t turns (the method
    of Sainte-Laguë for parliaments; the first of equals).

    Each turn takes the first image that nobody has chosen. A column with
    nothing left but images of value ``-inf`` is passed over; its turns go to
    the others. When this is so for all, the selector's choice by the scores
    themselves follows. An image whose score is ``-inf`` but not the column's
    value can be chosen by this column. Costs as much as the selector for each
    column, and once more where these are exhausted.

    Args:
        shares (dict[str, int]): Turns of each column, at least 1.
        selector (dict | BaseSelector, optional): Who ranks the images by one
            column. Default: ``mmal.TopN``.

    Raises:
        ValueError: If a share is no whole number of at least 1, there are
            none, or ``selector`` is no selector; when asked for an order,
            also if a column is missing, not [N] or has NaN.

    Examples:
        >>> from mmal.scores import Scores
        >>> columns = dict(a=[9., 8., 7., 6.], b=[1., 2., 3., 4.])
        >>> scores = Scores('wxyz', [0.] * 4, columns=columns)
        >>> Quota(dict(a=2, b=1)).select(scores, 3)
        ['w', 'z', 'x']
    """

    def __init__(self,
                 shares: Mapping[str, int],
                 selector: Optional[Union[Mapping, BaseSelector]] = None
                 ) -> None:
        if not isinstance(shares, Mapping) or not shares or not all(
                isinstance(share, Integral) and not isinstance(share, bool)
                and share >= 1 for share in shares.values()):
            raise ValueError(
                f'Quota: shares is {shares!r}: give the turns of each column, '
                'whole numbers of at least 1, e.g. dict(entropy=3, random=1).')
        self.shares = {str(k): int(v) for k, v in shares.items()}
        self.selector = as_selector(
            'Quota', dict(type='mmal.TopN') if selector is None else selector)
        self.needs_columns = tuple(dict.fromkeys(
            [*self.shares, *self.selector.needs_columns]))
        self.needs_embeddings = self.selector.needs_embeddings
        self.needs_labelled = self.selector.needs_labelled
        self.needs_class_scores = self.selector.needs_class_scores
        self.needs_class_weights = self.selector.needs_class_weights
        self.needs_weights = self.selector.needs_weights
        self.needs_embedded = self.selector.needs_embedded
        self.needs_gradients = self.selector.needs_gradients
        self.needs_draws = self.selector.needs_draws
        self.embeddings_dtype = self.selector.embeddings_dtype

    def check_classes(self, names: Sequence[str]) -> None:
        """See :meth:`BaseSelector.check_classes`."""
        self.selector.check_classes(names)

    def prepare(self, round: int) -> None:
        """See :meth:`BaseSelector.prepare`."""
        super().prepare(round)
        self.selector.prepare(round)

    def with_draws(self, number: Optional[int]) -> Quota:
        """See :meth:`BaseSelector.with_draws`; one column may end up with all
        of them."""
        other = super().with_draws(number)
        other.selector = self.selector.with_draws(number)
        return other

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        rankings = {}
        for name in self.shares:
            values = _column(scores, name)
            wanted = int((values > -np.inf).sum())
            # random numbers of its own: with those of another column it would
            # want the same images
            ranker = self.selector.with_seed_key(*self.seed_key, 'column',
                                                 name)
            ranking = ranker.order(replace(scores, values=values), embeddings,
                                   labelled)
            rankings[name] = islice(ranking, wanted)
        return self._draw(rankings, scores, embeddings, labelled)

    def _draw(self, rankings: dict[str, Iterator[ImageId]], scores: Scores,
              embeddings: Optional[np.ndarray],
              labelled: Optional[np.ndarray]) -> Iterator[ImageId]:
        chosen = set()
        turns = dict.fromkeys(rankings, 0)
        while turns:
            name = _next_turn(turns, self.shares)
            image = next((i for i in rankings[name] if i not in chosen), None)
            if image is None:
                del turns[name]
                continue
            turns[name] += 1
            chosen.add(image)
            yield image
        ranker = self.selector.with_seed_key(*self.seed_key)
        for image in ranker.order(scores, embeddings, labelled):
            if image not in chosen:
                yield image


def _next_turn(turns: Mapping[str, int], shares: Mapping[str, int]) -> str:
    """The column with the smallest (2 t + 1) / share, the first of equals."""
    best = None
    for name, number in turns.items():
        # fractions are compared crosswise, so that equals are equal
        if best is None or (2 * number + 1) * shares[best] < \
                (2 * turns[best] + 1) * shares[name]:
            best = name
    return best


def _column(scores: Scores, name: str) -> np.ndarray:
    if name not in scores.columns:
        raise ValueError(
            f'Quota: the scores have no column {name!r}; they have '
            f'{", ".join(scores.columns) or "none"}. Name parts of a '
            'mmal.CombinedScorer, or other columns of the scorer.')
    values = np.asarray(scores.columns[name], np.float64)
    if values.shape != (len(scores), ):
        raise ValueError(
            f'Quota: the column {name!r} has the shape {list(values.shape)}, '
            f'but needs one number for each of {len(scores)} images.')
    overflowed = np.flatnonzero(np.isnan(values))
    if len(overflowed):
        raise ValueError(
            f'Quota: {name!r} of image {scores.ids[overflowed[0]]} is NaN: '
            'the model overflowed. Check that the training loss is finite.')
    return values

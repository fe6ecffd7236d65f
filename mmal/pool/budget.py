"""Budgets: how much a round may label, counted in images or in boxes."""
from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from mmengine.registry import Registry

from mmal.pool.coco import ImageId
from mmal.pool.oracle import BaseOracle

BUDGETS = Registry('budget', scope='mmal', locations=['mmal.pool'])

Rank = Callable[[int], Sequence[ImageId]]

_KEY = 'active_learning.budget'


@dataclass(frozen=True)
class Taken:
    """What a round labels.

    Args:
        ids (list[int | str]): At least one, in the order chosen.
        boxes (int, optional): Their boxes; None where the oracle cannot tell
            before they are labelled.
        exhausted (bool): Whether they were the last.
        note (str): What a reader should know; often empty.
    """
    ids: list[ImageId]
    boxes: Optional[int]
    exhausted: bool
    note: str = ''


class BaseBudget(ABC):
    """How much a round may label. It has no state; the pool has.

    Args:
        size (int): Images or boxes a round, at least 1.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def check(self,
              pool_size: int,
              initial_size: int,
              total_boxes: Optional[int] = None) -> None:
        """Refuse, before the first round, what can never be spent.

        A budget that outgrows the pool later is no error: the last round
        takes what is left.

        Args:
            pool_size (int): Usable images.
            initial_size (int): Those of them in the first labelled set.
            total_boxes (int, optional): Boxes on the rest of them, if known.

        Raises:
            ValueError: If not even one round could spend it.
        """

    @abstractmethod
    def take(self, rank: Rank, oracle: BaseOracle, available: int) -> Taken:
        """Choose what to label.

        Args:
            rank (Callable): ``rank(n)`` gives the selector's choice of n
                different ids, best first; the same for the same n.
            oracle (BaseOracle): Counts boxes.
            available (int): Unlabelled images; n may not be larger.

        Raises:
            ValueError: If nothing is available.
        """


@BUDGETS.register_module(name='images')
class ImageBudget(BaseBudget):
    """So many images a round."""

    def check(self, pool_size, initial_size, total_boxes=None) -> None:
        left = pool_size - initial_size
        if self.size > left:
            raise ValueError(
                f'{_KEY}.size is {self.size} but only {left} of the '
                f'{pool_size} images are unlabelled at the start. Lower it, '
                'or use a larger pool.')

    def take(self, rank: Rank, oracle: BaseOracle, available: int) -> Taken:
        _check_available(available)
        n = min(self.size, available)
        ids = _ask(rank, n)
        boxes = None
        if oracle.knows_counts:
            boxes = int(oracle.count_boxes(ids).sum())
        note = ''
        if available < self.size:
            note = (f'only {available} images were left of the {self.size} '
                    'a round may label: all were taken')
        return Taken(ids, boxes, n == available, note)


@BUDGETS.register_module(name='boxes')
class BoxBudget(BaseBudget):
    """So many boxes a round: the longest start of the selector's order whose
    boxes fit, and at least one image.

    A selector is asked for more and more images until the budget is spent.
    One whose choice of n images does not begin its choice of more (half from
    the top, half from the bottom, say) is then asked for exactly as many as
    fit.
    """

    def check(self, pool_size, initial_size, total_boxes=None) -> None:
        if pool_size <= initial_size:
            raise ValueError(f'{_KEY}: all {pool_size} images are in the '
                             'first labelled set: nothing is left to choose. '
                             'Lower active_learning.initial.size.')
        if total_boxes is not None and self.size > total_boxes:
            raise ValueError(
                f'{_KEY}.size is {self.size} boxes but the unlabelled images '
                f'have only {total_boxes} at the start. Lower it, or use a '
                'larger pool.')

    def take(self, rank: Rank, oracle: BaseOracle, available: int) -> Taken:
        _check_available(available)
        _check_counts(oracle)
        fits, order, counts = self._grow(rank, oracle, available)
        n = self._prefix(counts)
        if n < len(order) and _ask(rank, n) != order[:n]:
            order, counts = self._bisect(rank, oracle, fits, len(order))
            n = len(order)
        ids, boxes = order[:n], int(counts[:n].sum())
        return Taken(ids, boxes, n == available, self._note(n, boxes,
                                                            available))

    def _grow(self, rank, oracle, available):
        """Double n until the boxes do not fit or nothing is left.

        Returns:
            tuple: The largest n that did fit (0 if none), and the first
            order that did not (or all) with its counts.
        """
        fits, n = 0, min(available, max(1, self.size // 8))
        while True:
            order, counts = _count(rank, oracle, n)
            if counts.sum() > self.size or n == available:
                return fits, order, counts
            fits, n = n, min(available, 2 * n)

    def _prefix(self, counts: np.ndarray) -> int:
        return max(1, int(np.searchsorted(
            np.cumsum(counts), self.size, side='right')))

    def _bisect(self, rank, oracle, low: int, high: int):
        """The largest n found to fit between one that does and one that does
        not, with the order asked for exactly n."""
        while high - low > 1:
            middle = (low + high) // 2
            fits = _count(rank, oracle, middle)[1].sum() <= self.size
            low, high = (middle, high) if fits else (low, middle)
        return _count(rank, oracle, max(1, low))

    def _note(self, n: int, boxes: int, available: int) -> str:
        if boxes > self.size:
            return (f'the first image alone has {boxes} boxes, more than the '
                    f'{self.size} a round may label')
        if n == available and boxes < self.size:
            return (f'only {available} images with {boxes} boxes were left '
                    f'of the {self.size} boxes a round may label: all were '
                    'taken')
        return ''


def build_budget(cfg: Mapping) -> BaseBudget:
    """Build ``active_learning.budget``.

    Args:
        cfg (Mapping): ``size`` (int, at least 1) and ``unit``, a name in
            :data:`BUDGETS`: 'images' (default) or 'boxes'.

    Raises:
        ValueError: If a key, the size or the unit is wrong.
    """
    cfg = dict(cfg)
    unit = cfg.pop('unit', 'images')
    known = sorted(BUDGETS.module_dict)
    if unit not in known:
        raise ValueError(f'{_KEY}.unit is {unit!r}: it must be one of '
                         f'{known}.')
    if set(cfg) != {'size'}:
        raise ValueError(f'{_KEY} has the keys {sorted(cfg)}: it needs size '
                         'and unit.')
    return BUDGETS.get(unit)(_positive(cfg['size'], unit))


def _positive(size, unit: str) -> int:
    try:
        number = operator.index(size)
    except TypeError:
        number = 0
    if isinstance(size, bool) or number < 1:
        raise ValueError(f'{_KEY}.size is {size!r}: it must be a whole '
                         f'number of {unit} above 0.')
    return number


def _check_available(available: int) -> None:
    if available < 1:
        raise ValueError('no unlabelled image is left to choose from: the '
                         'pool is exhausted, end the run here.')


def _check_counts(oracle: BaseOracle) -> None:
    if not oracle.knows_counts:
        raise ValueError(
            f"{_KEY}.unit is 'boxes' but {oracle.name} cannot count boxes "
            "before people have drawn them. Use unit='images'.")


def _ask(rank: Rank, n: int) -> list[ImageId]:
    ids = list(rank(n))
    if len(ids) != n or len(set(ids)) != n:
        raise ValueError(f'the selector gave {len(ids)} ids '
                         f'({len(set(ids))} different) where {n} different '
                         'ones were asked for.')
    return ids


def _count(rank: Rank, oracle: BaseOracle, n: int):
    ids = _ask(rank, n)
    return ids, np.asarray(oracle.count_boxes(ids), dtype=np.int64)

"""Budgets: how much a round may label, counted in images or in boxes."""
from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from mmengine.registry import Registry

from mmal.pool.coco import ImageId
from mmal.pool.oracle import BaseOracle

BUDGETS = Registry('budget', scope='mmal', locations=['mmal.pool'])

Rank = Callable[[int], Sequence[ImageId]]

_KEY = 'active_learning.budget'
_REPEATS = ('free', 'counted')


@dataclass(frozen=True)
class Taken:
    """What a round takes.

    Args:
        ids (list[int | str]): At least one, in the order chosen; labelled
            ones are taken again.
        boxes (int, optional): The boxes to draw, those of the images that
            are not labelled yet; None where the oracle cannot tell before.
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
        repeats (str): What a labelled image costs that is taken again:
            nothing ('free'), or as much as a new one ('counted': the round
            takes ``size`` images or boxes in all, new or not, as in Haussmann
            et al., "Scalable Active Learning for Object Detection", table
            IV).
    """

    def __init__(self, size: int, repeats: str = 'free') -> None:
        self.size = size
        self.repeats = repeats

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
    def take(self,
             rank: Rank,
             oracle: BaseOracle,
             available: int,
             labelled: Collection[ImageId] = frozenset()) -> Taken:
        """Choose what to label.

        Args:
            rank (Callable): ``rank(n)`` gives the selector's choice of n
                different ids, best first; the same for the same n.
            oracle (BaseOracle): Counts boxes.
            available (int): Candidates; n may not be larger.
            labelled (Collection[int | str]): Those of them that are labelled
                already.

        Raises:
            ValueError: If nothing is available.
        """

    def _take(self, rank: Rank, oracle: BaseOracle, available: int,
              labelled: Collection[ImageId], first: int) -> _Start:
        """The longest start of the selector's order that can be paid.

        Where repetitions are free it ends with a new image: a labelled one is
        taken again if the selector prefers it to one that is labelled now.
        So every round gets on.

        A selector is asked for more and more images, ``first`` of them to
        begin with, until the budget is spent. One whose choice of n images
        does not begin its choice of more (half from the top, half from the
        bottom, say) is then asked for exactly as many as can be paid.
        """
        free = self._free(labelled)

        def ask(n: int) -> _Start:
            ids = _ask(rank, n)
            new = np.array([i not in free for i in ids])
            return _Start(ids, np.where(new, self._costs(oracle, ids), 0),
                          new)

        fits, start = self._grow(ask, available, first)
        n = start.payable(self.size)
        if n == len(start.ids):
            return start
        if ask(n).ids == start.ids[:n]:
            return start.cut(n)
        if start.costs.sum() <= self.size:
            return start
        return self._bisect(ask, fits, len(start.ids))

    def _free(self, labelled: Collection[ImageId]) -> Collection[ImageId]:
        return labelled if self.repeats == 'free' else frozenset()

    @abstractmethod
    def _costs(self, oracle: BaseOracle, ids: list[ImageId]) -> np.ndarray:
        """int64 [n], what images cost."""

    @abstractmethod
    def _spent(self, costs: np.ndarray) -> bool:
        """Whether no image can follow these."""

    def _grow(self, ask: Ask, available: int,
              first: int) -> tuple[int, _Start]:
        """Double n until the budget is spent or nothing is left.

        Returns:
            tuple: The largest n that did not spend it (0 if none), and the
            first start that did (or all).
        """
        fits, n = 0, min(available, first)
        while True:
            start = ask(n)
            if self._spent(start.costs) or n == available:
                return fits, start
            fits, n = n, min(available, 2 * n)

    def _bisect(self, ask: Ask, low: int, high: int) -> _Start:
        """The largest n found to be paid between one that can be and one that
        cannot, with the start asked for exactly n."""
        while high - low > 1:
            middle = (low + high) // 2
            fits = ask(middle).costs.sum() <= self.size
            low, high = (middle, high) if fits else (low, middle)
        start = ask(max(1, low))
        return start if start.new.any() else ask(high)


@dataclass(frozen=True)
class _Start:
    """The first n images of a selector's order.

    Args:
        ids (list[int | str]): n of them.
        costs (np.ndarray): int64 [n], what each costs.
        new (np.ndarray): bool [n], whether it has a price, even if that is 0.
    """
    ids: list[ImageId]
    costs: np.ndarray
    new: np.ndarray

    def payable(self, size: int) -> int:
        """How many of the first images, up to a new one, cost no more than
        ``size``; those up to the first new one in any case."""
        places = np.flatnonzero(self.new) + 1
        costs = np.cumsum(self.costs[self.new])
        fits = int(np.searchsorted(costs, size, side='right'))
        return int(places[max(1, fits) - 1]) if len(places) else 1

    def cut(self, n: int) -> _Start:
        """The first n of them."""
        return _Start(self.ids[:n], self.costs[:n], self.new[:n])


Ask = Callable[[int], _Start]


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

    def take(self, rank, oracle, available, labelled=frozenset()) -> Taken:
        _check_available(available)
        start = self._take(rank, oracle, available, labelled, self.size)
        boxes = None
        if oracle.knows_counts:
            new = [i for i in start.ids if i not in labelled]
            boxes = int(oracle.count_boxes(new).sum())
        left = available - len(self._free(labelled))
        note = ''
        if left < self.size:
            note = (f'only {left} images were left of the {self.size} '
                    'a round may label: all were taken')
        return Taken(start.ids, boxes, int(start.new.sum()) == left, note)

    def _costs(self, oracle, ids) -> np.ndarray:
        return np.ones(len(ids), dtype=np.int64)

    def _spent(self, costs) -> bool:
        return costs.sum() >= self.size


@BUDGETS.register_module(name='boxes')
class BoxBudget(BaseBudget):
    """So many boxes a round: the longest start of the selector's order whose
    boxes fit, and at least one image."""

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

    def take(self, rank, oracle, available, labelled=frozenset()) -> Taken:
        _check_available(available)
        _check_counts(oracle)
        start = self._take(rank, oracle, available, labelled,
                           max(1, self.size // 8))
        drawn = sum(int(cost) for i, cost in zip(start.ids, start.costs)
                    if i not in labelled)
        left = available - len(self._free(labelled))
        exhausted = int(start.new.sum()) == left
        note = self._note(int(start.costs.sum()), left, exhausted)
        return Taken(start.ids, drawn, exhausted, note)

    def _costs(self, oracle, ids) -> np.ndarray:
        return np.asarray(oracle.count_boxes(ids), dtype=np.int64)

    def _spent(self, costs) -> bool:
        return costs.sum() > self.size

    def _note(self, boxes: int, left: int, exhausted: bool) -> str:
        if boxes > self.size:
            return (f'the first image alone has {boxes} boxes, more than the '
                    f'{self.size} a round may label')
        if exhausted and boxes < self.size:
            return (f'only {left} images with {boxes} boxes were left '
                    f'of the {self.size} boxes a round may label: all were '
                    'taken')
        return ''


def build_budget(cfg: Mapping) -> BaseBudget:
    """Build ``active_learning.budget``.

    Args:
        cfg (Mapping): ``size`` (int, at least 1), ``unit``, a name in
            :data:`BUDGETS`: 'images' (default) or 'boxes', and ``repeats``:
            'free' (default) or 'counted'.

    Raises:
        ValueError: If a key or a value is wrong.
    """
    cfg = dict(cfg)
    unit = cfg.pop('unit', 'images')
    known = sorted(BUDGETS.module_dict)
    if unit not in known:
        raise ValueError(f'{_KEY}.unit is {unit!r}: it must be one of '
                         f'{known}.')
    repeats = cfg.pop('repeats', 'free')
    if repeats not in _REPEATS:
        raise ValueError(f'{_KEY}.repeats is {repeats!r}: choose one of '
                         f'{list(_REPEATS)}.')
    if set(cfg) != {'size'}:
        raise ValueError(f'{_KEY} has the keys {sorted(cfg)}: it needs size '
                         'and unit, and may have repeats.')
    return BUDGETS.get(unit)(_positive(cfg['size'], unit), repeats)


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

"""Budgets: how much a round may label, counted in images or in boxes."""
from __future__ import annotations

import numbers
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from mmengine.registry import Registry

from mmal.types import ImageId
from .oracle import BaseOracle

BUDGETS = Registry('budget', scope='mmal', locations=['mmal.pool.budget'])

_KEY = 'active_learning.budget'
_REPEATS = ('free', 'counted')


@dataclass(frozen=True)
class Acquisition:
    """What a round takes.

    Args:
        ids (list[int | str]): The images, best first; labelled ones are
            reselected. Empty only if the order was.
        boxes (int, optional): The boxes to draw, those of the images that
            are not labelled yet; None where the oracle cannot tell before.
        note (str): What a reader should know; often empty.
    """
    ids: list[ImageId]
    boxes: Optional[int]
    note: str = ''


class BaseBudget(ABC):
    """How much a round may label. It has no state; the pool has.

    A subclass says what an image costs and what a reader should know of what
    was spent.

    Args:
        size (int): What a round may spend, at least 1.
        repeats (str): What a reselected image costs, one that is labelled
            already: nothing ('free'), or as much as a new one ('counted': the
            round takes ``size`` images or boxes in all, new or not, as in
            Haussmann et al., "Scalable Active Learning for Object Detection",
            table IV).
    """

    least_cost: float = 0  # no image costs less

    def __init__(self, size: int, repeats: str = 'free') -> None:
        self.size = size
        self.repeats = repeats

    @property
    @abstractmethod
    def costs(self) -> tuple[float, float]:
        """What a box costs, and an image without boxes."""

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
    def cost(self, oracle: BaseOracle, image: ImageId) -> float:
        """What labelling an image costs, at least ``least_cost``."""

    @abstractmethod
    def note(self, spent: float, images: int, all_taken: bool) -> str:
        """What a reader should know of a round.

        Args:
            spent (int): What its images cost.
            images (int): How many of them cost something.
            all_taken (bool): Whether there was no other image to take.
        """

    def acquire(self,
                order: Iterable[ImageId],
                oracle: BaseOracle,
                labelled: Collection[ImageId] = frozenset()) -> Acquisition:
        """Take images from an order, best first, until the budget is spent.

        The first image is always taken. An image is drawn only if it may be
        paid: with a budget in boxes at most the one that is too dear is drawn
        and not used.

        Args:
            order (iterable[int | str]): A selector's order of the images to
                choose from.
            oracle (BaseOracle): Counts boxes.
            labelled (Collection[int | str]): Those of them that are labelled
                already. Where these are free the acquisition ends with a new
                image: a labelled one is reselected if the selector prefers it
                to an image that is labelled now. So every round gets on.

        Raises:
            ValueError: If the order has an image twice.
        """
        free = labelled if self.repeats == 'free' else frozenset()
        ids: list[ImageId] = []
        reselected: list[ImageId] = []  # since the last image that was paid
        seen, paid, spent, all_taken = set(), 0, 0, True
        for image in order:
            if image in seen:
                raise ValueError(f'the selector gave image {image} twice.')
            seen.add(image)
            if image in free:
                # kept back: if no new image follows, it was preferred to none
                reselected.append(image)
                continue
            cost = self.cost(oracle, image)
            if paid and spent + cost > self.size:
                # not passed over for a cheaper one: that would prefer images
                # with few boxes, whatever the selector says
                all_taken = False
                break
            ids += [*reselected, image]
            reselected = []
            paid += 1
            spent += cost
            if spent + self.least_cost > self.size:
                # the next one need not be drawn, which may cost a selector
                # minutes; whether there is one nobody knows
                all_taken = False
                break
        boxes = None
        if oracle.knows_counts:
            new = [i for i in ids if i not in labelled]
            boxes = int(oracle.count_boxes(new).sum())
        return Acquisition(ids, boxes, self.note(spent, paid, all_taken))


@BUDGETS.register_module(name='images')
class ImageBudget(BaseBudget):
    """So many images a round."""

    least_cost = 1

    @property
    def costs(self) -> tuple[float, float]:
        """See :meth:`BaseBudget.costs`."""
        return 0., 1.

    def check(self, pool_size, initial_size, total_boxes=None) -> None:
        left = pool_size - initial_size
        if self.size > left:
            raise ValueError(
                f'{_KEY}.size is {self.size} but only {left} of the '
                f'{pool_size} images are unlabelled at the start. Lower it, '
                'or use a larger pool.')

    def cost(self, oracle: BaseOracle, image: ImageId) -> int:
        """See :meth:`BaseBudget.cost`."""
        return 1

    def note(self, spent: int, images: int, all_taken: bool) -> str:
        """See :meth:`BaseBudget.note`."""
        if all_taken and images < self.size:
            return (f'only {images} images were left of the {self.size} '
                    'a round may label: all were taken')
        return ''


@BUDGETS.register_module(name='boxes')
class BoxBudget(BaseBudget):
    """So many boxes a round: the longest start of the selector's order whose
    boxes fit, and at least one image.

    Args:
        size, repeats: See :class:`BaseBudget`.
        per_image (float): What an image costs besides its boxes, in boxes: to
            open it and look it over. At 0 an image without boxes is free.
    """

    def __init__(self, size: int, repeats: str = 'free',
                 per_image: float = 0) -> None:
        super().__init__(size, repeats)
        self.per_image = self.least_cost = per_image

    @property
    def costs(self) -> tuple[float, float]:
        """See :meth:`BaseBudget.costs`."""
        return 1., float(self.per_image)

    def check(self, pool_size, initial_size, total_boxes=None) -> None:
        if pool_size <= initial_size:
            raise ValueError(f'{_KEY}: all {pool_size} images are in the '
                             'first labelled set: nothing is left to choose. '
                             'Lower active_learning.initial.size.')
        if total_boxes is None:
            return
        all_of_them = total_boxes + self.per_image * (pool_size - initial_size)
        if self.size > all_of_them:
            raise ValueError(
                f'{_KEY}.size is {self.size} boxes but the unlabelled images '
                f'cost only {all_of_them:g} at the start. Lower it, or use a '
                'larger pool.')

    def acquire(self,
                order: Iterable[ImageId],
                oracle: BaseOracle,
                labelled: Collection[ImageId] = frozenset()) -> Acquisition:
        """See :meth:`BaseBudget.acquire`.

        Raises:
            ValueError: Also if the oracle cannot count boxes.
        """
        if not oracle.knows_counts:
            raise ValueError(
                f"{_KEY}.unit is 'boxes' but {oracle.name} cannot count boxes "
                "before people have drawn them. Use unit='images'.")
        return super().acquire(order, oracle, labelled)

    def cost(self, oracle: BaseOracle, image: ImageId) -> float:
        """See :meth:`BaseBudget.cost`."""
        return int(oracle.count_boxes([image])[0]) + self.per_image

    def note(self, spent: float, images: int, all_taken: bool) -> str:
        """See :meth:`BaseBudget.note`."""
        if spent > self.size:
            return (f'the first image alone costs {spent:g} boxes, more than '
                    f'the {self.size} a round may label')
        if all_taken and spent < self.size:
            return (f'only {images} images for {spent:g} boxes were left '
                    f'of the {self.size} boxes a round may label: all were '
                    'taken')
        return ''


def build_budget(cfg: Mapping) -> BaseBudget:
    """Build ``active_learning.budget``.

    Args:
        cfg (Mapping): ``size`` (int, at least 1), ``unit``, a name in
            :data:`BUDGETS`: 'images' (default) or 'boxes', ``repeats``:
            'free' (default) or 'counted', and for boxes ``per_image``, a
            number of at least 0.

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
    per_image = cfg.pop('per_image', None)
    if set(cfg) != {'size'}:
        raise ValueError(f'{_KEY} has the keys {sorted(cfg)}: it needs size '
                         'and unit, and may have repeats and per_image.')
    size = cfg['size']
    try:
        number = operator.index(size)  # numpy's integers too
    except TypeError:
        number = 0
    if isinstance(size, bool) or number < 1:
        raise ValueError(f'{_KEY}.size is {size!r}: it must be a whole '
                         f'number of {unit} above 0.')
    if per_image is None:
        return BUDGETS.get(unit)(number, repeats)
    if unit != 'boxes':
        raise ValueError(f"{_KEY}.per_image is {per_image!r}, but unit is "
                         f"'{unit}': what an image costs besides its boxes "
                         "belongs to unit='boxes'.")
    if isinstance(per_image, bool) or not isinstance(
            per_image, numbers.Real) or not 0 <= per_image < float('inf'):
        raise ValueError(f'{_KEY}.per_image is {per_image!r}: it must be a '
                         'number of at least 0.')
    return BoxBudget(number, repeats, per_image)

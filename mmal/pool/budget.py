"""Budgets: how much a round may label, in images, boxes or seconds."""
from __future__ import annotations

import numbers
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol

import numpy as np
from mmengine.registry import Registry

from mmal.types import ImageId
from .costs import PER_BOX, PER_IMAGE, CostModel
from .oracle import BaseOracle

BUDGETS = Registry('budget', scope='mmal', locations=['mmal.pool.budget'])

_KEY = 'active_learning.budget'
_REPEATS = ('free', 'counted')


class BoxCounts(Protocol):
    """Who tells how many boxes images have, or are expected to have."""
    class_names: Sequence[str]

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """[N], the boxes on N images; floats where they are expected."""

    def count_by_class(self, ids: Iterable[ImageId]) -> np.ndarray:
        """[N, C], those of each class."""


@dataclass(frozen=True)
class MeanCounts:
    """Any image has as many boxes as some images do on average.

    Args:
        class_names (sequence[str]): C classes.
        mean (np.ndarray): float64 [C], boxes of each.
    """
    class_names: Sequence[str]
    mean: np.ndarray

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """float64 [N]."""
        return self.count_by_class(ids).sum(1)

    def count_by_class(self, ids: Iterable[ImageId]) -> np.ndarray:
        """float64 [N, C]."""
        return np.tile(self.mean, (len(list(ids)), 1))


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

    A subclass says what an image costs, in its unit.

    Args:
        size (int): What a round may spend, at least 1.
        repeats (str): What a reselected image costs, one that is labelled
            already: nothing ('free'), or as much as a new one ('counted': the
            round takes ``size`` images or boxes in all, new or not, as in
            Haussmann et al., "Scalable Active Learning for Object Detection",
            table IV).
        cost_model (CostModel, optional): How long people take; the hours of
            a learning curve are counted by it, whatever the unit.
        targets (Mapping[str, float]): How many boxes of some classes a round
            should have, by name. The budget spends; whoever makes the order
            prefers the images that serve them.
    """

    unit: str
    least_cost: float = 0  # no image costs less
    needs_counts: bool = True  # an image costs what is on it

    def __init__(self,
                 size: int,
                 repeats: str = 'free',
                 cost_model: Optional[CostModel] = None,
                 targets: Optional[Mapping[str, float]] = None) -> None:
        self.size = size
        self.repeats = repeats
        self.cost_model = cost_model or CostModel()
        self.targets = dict(targets or {})

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
    def cost(self, counts: BoxCounts, image: ImageId) -> float:
        """What labelling an image costs, at least ``least_cost``."""

    def note(self, spent: float, images: int, all_taken: bool) -> str:
        """What a reader should know of a round.

        Args:
            spent (float): What its images cost.
            images (int): How many of them cost something.
            all_taken (bool): Whether there was no other image to take.
        """
        if spent > self.size:
            return (f'the first image alone costs {spent:g} {self.unit}, more '
                    f'than the {self.size} a round may label')
        if all_taken and spent < self.size:
            return (f'only {images} images for {spent:g} {self.unit} were '
                    f'left of the {self.size} {self.unit} a round may label: '
                    'all were taken')
        return ''

    def acquire(self,
                order: Iterable[ImageId],
                oracle: BaseOracle,
                labelled: Collection[ImageId] = frozenset(),
                expected: Optional[BoxCounts] = None) -> Acquisition:
        """Take images from an order, best first, until the budget is spent.

        The first image is always taken. An image is drawn only if it may be
        paid: with a budget in boxes at most the one that is too dear is drawn
        and not used.

        Args:
            order (iterable[int | str]): A selector's order of the images to
                choose from.
            oracle (BaseOracle): Counts boxes, if it can before they are
                drawn.
            labelled (Collection[int | str]): Those of them that are labelled
                already. Where these are free the acquisition ends with a new
                image: a labelled one is reselected if the selector prefers it
                to an image that is labelled now. So every round gets on.
            expected (BoxCounts, optional): Says how many boxes are expected,
                where the oracle cannot count them.

        Raises:
            ValueError: If the order has an image twice, or nobody can tell
                what an image costs.
        """
        counts: Optional[BoxCounts] = \
            oracle if oracle.knows_counts else expected
        if self.needs_counts and counts is None:
            raise ValueError(
                f"{_KEY}.unit is {self.unit!r} but {oracle.name} cannot count "
                "boxes before people have drawn them. Use unit='images'.")
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
            # labelled images have their boxes, whoever drew them
            cost = self.cost(oracle if image in labelled else counts, image)
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

    unit = 'images'
    least_cost = 1
    needs_counts = False

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

    def cost(self, counts: Optional[BoxCounts], image: ImageId) -> int:
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
        cost_model, targets: See :class:`BaseBudget`.
    """

    unit = 'boxes'

    def __init__(self,
                 size: int,
                 repeats: str = 'free',
                 per_image: float = 0,
                 cost_model: Optional[CostModel] = None,
                 targets: Optional[Mapping[str, float]] = None) -> None:
        super().__init__(size, repeats, cost_model, targets)
        self.per_image = self.least_cost = per_image

    @property
    def costs(self) -> tuple[float, float]:
        """See :meth:`BaseBudget.costs`."""
        return 1., float(self.per_image)

    def check(self, pool_size, initial_size, total_boxes=None) -> None:
        _check_left(pool_size, initial_size)
        if total_boxes is None:
            return
        all_of_them = total_boxes + self.per_image * (pool_size - initial_size)
        if self.size > all_of_them:
            raise ValueError(
                f'{_KEY}.size is {self.size} boxes but the unlabelled images '
                f'cost only {all_of_them:g} at the start. Lower it, or use a '
                'larger pool.')

    def cost(self, counts: BoxCounts, image: ImageId) -> float:
        """See :meth:`BaseBudget.cost`."""
        return counts.count_boxes([image])[0].item() + self.per_image


@BUDGETS.register_module(name='seconds')
class SecondsBudget(BaseBudget):
    """So many seconds of labelling a round, by the cost model: the longest
    start of the selector's order that can be labelled in them, and at least
    one image.

    Args:
        size, repeats, cost_model, targets: See :class:`BaseBudget`.
    """

    unit = 'seconds'

    def __init__(self,
                 size: int,
                 repeats: str = 'free',
                 cost_model: Optional[CostModel] = None,
                 targets: Optional[Mapping[str, float]] = None) -> None:
        super().__init__(size, repeats, cost_model, targets)
        self.least_cost = self.cost_model.per_image

    @property
    def costs(self) -> tuple[float, float]:
        """See :meth:`BaseBudget.costs`; a box is one of a class without a
        cost of its own."""
        return float(self.cost_model.per_box), float(self.cost_model.per_image)

    def check(self, pool_size, initial_size, total_boxes=None) -> None:
        _check_left(pool_size, initial_size)
        if total_boxes is None:
            return
        # at most so much, for the classes of the boxes are not known here
        model = self.cost_model
        most = total_boxes * max(model.per_box, *model.per_class.values(), 0) \
            + model.per_image * (pool_size - initial_size)
        if self.size > most:
            raise ValueError(
                f'{_KEY}.size is {self.size} seconds but all unlabelled '
                f'images cost at most {most:g} at the start. Lower it, or use '
                'a larger pool.')

    def cost(self, counts: BoxCounts, image: ImageId) -> float:
        """See :meth:`BaseBudget.cost`."""
        return self.cost_model.seconds(
            counts.count_by_class([image]), counts.class_names)[0].item()


def _check_left(pool_size: int, initial_size: int) -> None:
    if pool_size <= initial_size:
        raise ValueError(f'{_KEY}: all {pool_size} images are in the '
                         'first labelled set: nothing is left to choose. '
                         'Lower active_learning.initial.size.')


def build_budget(cfg: Mapping) -> BaseBudget:
    """Build ``active_learning.budget``.

    Args:
        cfg (Mapping): ``size`` (int, at least 1), ``unit``, a name in
            :data:`BUDGETS`: 'images' (default), 'boxes' or 'seconds';
            ``repeats``: 'free' (default) or 'counted'; ``per_image``, in
            boxes where these are the unit and in seconds elsewhere, and
            ``per_box`` and ``per_class`` in seconds, all at least 0, see
            :class:`CostModel`; ``targets``, numbers of boxes above 0 by the
            name of their class.

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
    per_image = _cost('per_image', cfg.pop('per_image', None))
    per_box = _cost('per_box', cfg.pop('per_box', None))
    per_class, targets = (
        {str(name): _cost(f'{key}.{name}', value)
         for name, value in dict(cfg.pop(key, None) or {}).items()}
        for key in ('per_class', 'targets'))
    for name, number in targets.items():
        if not number:
            raise ValueError(f'{_KEY}.targets.{name} is {number!r}: it must '
                             'be a number of boxes above 0.')
    if set(cfg) != {'size'}:
        raise ValueError(
            f'{_KEY} has the keys {sorted(cfg)}: it needs size and unit, and '
            'may have repeats, per_image, per_box, per_class and targets.')
    size = cfg['size']
    try:
        number = operator.index(size)  # numpy's integers too
    except TypeError:
        number = 0
    if isinstance(size, bool) or number < 1:
        raise ValueError(f'{_KEY}.size is {size!r}: it must be a whole '
                         f'number of {unit} above 0.')
    per_box = PER_BOX if per_box is None else per_box
    seconds = PER_IMAGE if per_image is None else per_image
    options = {}
    if unit == 'boxes':
        # in boxes; 0, the default, says nothing of the seconds
        seconds = per_image * per_box if per_image else PER_IMAGE
        options = dict(per_image=per_image or 0)
    return BUDGETS.get(unit)(
        number,
        repeats,
        cost_model=CostModel(seconds, per_box, per_class),
        targets=targets,
        **options)


def _cost(key: str, value: Optional[float]) -> Optional[float]:
    """A number of a config that is not negative, or None."""
    if value is not None and (
            isinstance(value, bool) or not isinstance(value, numbers.Real)
            or not 0 <= value < float('inf')):
        raise ValueError(f'{_KEY}.{key} is {value!r}: it must be a number of '
                         'at least 0.')
    return value

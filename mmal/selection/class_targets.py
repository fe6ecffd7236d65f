"""Rounds that shall have so many boxes of some classes, and the walk along a
selector's order that respects them and keeps near duplicates apart."""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Optional, Protocol

import numpy as np

from mmal.types import ImageId
from .spacing import Neighbours

# An image serves a class if a box of it is at least as likely as not.
LEAST_EXPECTED = 0.5
_ROUNDING = 1e-9


class ExpectedCounts(Protocol):
    """Who tells how many boxes of each class are expected on images."""
    class_names: Sequence[str]

    def count_by_class(self, ids: Iterable[ImageId]) -> np.ndarray:
        """[N, C], >= 0."""


class ClassTargets:
    """How many boxes of some classes are still wanted.

    Args:
        targets (mapping[str, float]): Boxes by the name of their class, > 0.
        expected (ExpectedCounts): What is expected on an image. The truth of
            images that nobody has labelled has no place here: it would be
            looked at to choose them.

    Raises:
        ValueError: If a class is unknown.
    """

    def __init__(self, targets: Mapping[str, float],
                 expected: ExpectedCounts) -> None:
        names = list(expected.class_names)
        unknown = [name for name in targets if name not in names]
        if unknown:
            raise ValueError(f'there are targets for {", ".join(unknown)}, '
                             f'but the classes are {", ".join(names)}.')
        self._columns = [names.index(name) for name in targets]
        self._expected = expected
        self.left = np.array(list(targets.values()), np.float64)

    @property
    def filled(self) -> bool:
        """Whether all that is wanted is expected on the images taken."""
        return not (self.left > _ROUNDING).any()

    def serves(self, image: ImageId) -> bool:
        """Whether at least :data:`LEAST_EXPECTED` boxes of a class that is
        still wanted are expected on an image."""
        wanted = self.left > _ROUNDING
        return bool((self._of(image)[wanted] >= LEAST_EXPECTED).any())

    def wanted_boxes(self, image: ImageId) -> float:
        """How many boxes of the classes still wanted are expected."""
        return float(self._of(image)[self.left > _ROUNDING].sum())

    def take(self, image: ImageId) -> None:
        """An image is chosen: what is expected on it is no longer wanted."""
        self.left -= self._of(image)

    def _of(self, image: ImageId) -> np.ndarray:
        return self._expected.count_by_class([image])[0][self._columns]


class Walk:
    """An order with some images put off; every image comes, once.

    As long as a class target is not filled, images that serve none are passed
    over. If the order ends before, those come of them on which most boxes
    are expected of the classes wanted then, until the targets are filled.
    What was passed over and the rest of the order follows, as the selector
    ranked it. Images too near to one that has come, or to a labelled one,
    come last of all.

    Whoever draws takes what comes. An image is drawn from the order when it
    is needed.

    Args:
        order (iterable[int | str]): The selector's.
        neighbours (Neighbours, optional): Says which images are too near.
        targets (ClassTargets, optional): Which classes are wanted.
        labelled (collection[int | str]): Images of the order that are
            labelled already: they come in their turn, whatever is near.

    Attributes:
        near (list[int | str]): The images put off as too near so far.
    """

    def __init__(self,
                 order: Iterable[ImageId],
                 neighbours: Optional[Neighbours] = None,
                 targets: Optional[ClassTargets] = None,
                 labelled: Collection[ImageId] = frozenset()) -> None:
        self._order = order
        self._neighbours = neighbours
        self._targets = targets
        self._labelled = labelled
        self.near: list[ImageId] = []

    def __iter__(self) -> Iterator[ImageId]:
        order, targets = iter(self._order), self._targets
        passed_over: list[ImageId] = []
        while targets is not None and not targets.filled:
            image = next(order, None)
            if image is None:
                break
            if self._is_near(image):
                self.near.append(image)
            elif image in self._labelled:
                yield image
            elif targets.serves(image):
                targets.take(image)
                yield self._taken(image)
            else:
                passed_over.append(image)
        called_back = set()
        if targets is not None and not targets.filled:
            # a detector that knows a class badly is sure of no image
            for image in sorted(passed_over, key=targets.wanted_boxes,
                                reverse=True):
                if targets.filled:
                    break
                if targets.wanted_boxes(image) and not self._is_near(image):
                    called_back.add(image)
                    targets.take(image)
                    yield self._taken(image)
        for image in chain(passed_over, order):
            if image in called_back:
                continue
            # once more: others may have come since it was passed over
            if self._is_near(image):
                self.near.append(image)
            else:
                yield self._taken(image)
        yield from self.near

    def _is_near(self, image: ImageId) -> bool:
        return self._neighbours is not None and \
            image not in self._labelled and self._neighbours.too_near(image)

    def _taken(self, image: ImageId) -> ImageId:
        if self._neighbours is not None and image not in self._labelled:
            self._neighbours.take(image)
        return image

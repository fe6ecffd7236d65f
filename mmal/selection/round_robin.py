"""Classes that choose in turn."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector

_COLUMN = 'class_scores'


@TASK_UTILS.register_module()
class RoundRobin(BaseSelector):
    """Lets the classes of interest choose an image in turn, by a selector of
    any kind.

    The images are ranked for each class: the selector is given the values of
    this class, ``scores.columns['class_scores'][:, c]``, in place of the
    scores (-inf where the score is -inf). Then each class in turn takes the first image of its ranking that none has taken. A class
    with nothing left but images of value ``-inf`` is passed over; when this
    is so for all, the selector's choice by the scores themselves follows.

    Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
    section V. Costs as much as the selector for each class.

    Args:
        selector (dict | BaseSelector): Ranks the images for one class.
        classes (list[int | str], optional): The classes of interest in the
            order of their turns, by number or name. All of them when None.
        class_names (list[str], optional): The C names of all classes; a run
            knows them.

    Raises:
        ValueError: If ``classes`` is empty, names one twice or one that is
            not in ``class_names``, or ``selector`` is none.

    Examples:
        >>> import numpy as np
        >>> table = np.array([[.9, .1], [.8, .2], [.0, .3]])
        >>> scores = Scores([7, 8, 9], table.max(1),
        ...                 columns=dict(class_scores=table))
        >>> RoundRobin(dict(type='mmal.TopN')).select(scores, 3)
        [7, 9, 8]
    """

    needs_class_scores = True

    def __init__(self,
                 selector: Union[dict, BaseSelector],
                 classes: Optional[Sequence[Union[int, str]]] = None,
                 class_names: Optional[Sequence[str]] = None) -> None:
        self.selector = _build(selector)
        self.classes = classes if classes is None else list(classes)
        _check_each_once(self.classes)
        self.class_names = None
        if class_names is not None:
            self.check_classes(class_names)
        self.needs_embeddings = self.selector.needs_embeddings
        self.needs_labelled = self.selector.needs_labelled
        self.needs_weights = self.selector.needs_weights
        self.embeddings_dtype = self.selector.embeddings_dtype

    def check_classes(self, names: Sequence[str]) -> None:
        """See :meth:`BaseSelector.check_classes`."""
        self.class_names = list(names)
        self._columns(len(self.class_names))
        self.selector.check_classes(names)

    def prepare(self, round: int) -> None:
        """See :meth:`BaseSelector.prepare`."""
        super().prepare(round)
        self.selector.prepare(round)

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`.

        Raises:
            ValueError: Also if there are no values of each class, or one is
                NaN.
        """
        scores = as_scores(scores)
        table = _class_scores(scores)
        orders = [
            self._class_order(scores, table[:, c], c, embeddings, labelled)
            for c in self._columns(table.shape[1])
        ]

        def by_score() -> Iterator[ImageId]:
            # a generator: an order that is never drawn from costs nothing
            selector = self.selector.with_seed_key(*self.seed_key)
            yield from selector.order(scores, embeddings, labelled)

        return _different(chain(_in_turn(orders), by_score()))

    def _columns(self, number: int) -> Sequence[int]:
        if self.classes is None:
            return range(number)
        classes = [_number(c, self.class_names or []) for c in self.classes]
        if max(classes) >= number:
            raise ValueError(
                f'RoundRobin: classes has {max(classes)} but there are only '
                f'{number} classes, 0 to {number - 1}.')
        _check_each_once(classes)
        return classes

    def _class_order(self, scores: Scores, column: np.ndarray, number: int,
                     embeddings, labelled) -> Iterator[ImageId]:
        """The images a class wants most, without those of -inf."""
        values = np.where(scores.values == -np.inf, -np.inf, column)
        of_class = replace(scores, values=values)
        known = int((values != -np.inf).sum())  # the others come last
        selector = self.selector.with_seed_key(*self.seed_key, 'class',
                                               number)
        return islice(selector.order(of_class, embeddings, labelled), known)


def _in_turn(orders: list[Iterator[ImageId]]) -> Iterator[ImageId]:
    """Each order in turn gives its next id that none has given."""
    given = set()
    turns = deque(orders)
    while turns:
        order = turns.popleft()
        image = next((i for i in order if i not in given), None)
        if image is not None:
            given.add(image)
            turns.append(order)
            yield image


def _different(ids: Iterable[ImageId]) -> Iterator[ImageId]:
    """Each id where it comes first."""
    given = set()
    for image in ids:
        if image not in given:
            given.add(image)
            yield image


def _class_scores(scores: Scores) -> np.ndarray:
    columns = scores.columns
    if _COLUMN not in columns:
        raise ValueError(
            'RoundRobin ranks images for each class, but the scores have no '
            f'column {_COLUMN!r} of shape [N, C] (they have '
            f'{", ".join(columns) or "no columns"}): use a scorer that keeps '
            'a value of each class.')
    table = np.asarray(columns[_COLUMN], np.float64)
    if table.ndim != 2 or len(table) != len(scores.ids) or not table.shape[1]:
        raise ValueError(
            f'RoundRobin needs {_COLUMN} of shape [{len(scores.ids)}, C], one '
            f'row per image, but was given {table.shape}.')
    bad = np.flatnonzero(np.isnan(table).any(1))
    if len(bad):
        raise ValueError(
            f'{_COLUMN} of image {scores.ids[bad[0]]} are NaN: the model '
            'overflowed. Check that the training loss is finite.')
    return table


def _build(selector: Union[dict, BaseSelector]) -> BaseSelector:
    if isinstance(selector, Mapping):
        selector = TASK_UTILS.build(dict(selector))
    if not isinstance(selector, BaseSelector):
        raise ValueError(
            f'RoundRobin: selector is {selector!r}, which is no selector: '
            "give a config such as dict(type='mmal.TopN').")
    return selector


def _check_each_once(classes: Optional[Sequence]) -> None:
    if classes is not None and (
            not classes or len(set(classes)) < len(classes)):
        raise ValueError(f'RoundRobin: classes is {list(classes)}: name at '
                         'least one, and each once.')


def _number(name: Union[int, str], names: list[str]) -> int:
    if isinstance(name, str):
        if name not in names:
            raise ValueError(
                f'RoundRobin: {name!r} in classes is not one of class_names '
                f'({", ".join(names) or "none are given"}): give its number, '
                'or the names of all classes as in metainfo.classes.')
        return names.index(name)
    if name < 0:
        raise ValueError(f'RoundRobin: {name} in classes is negative: '
                         'classes are counted from 0.')
    return int(name)

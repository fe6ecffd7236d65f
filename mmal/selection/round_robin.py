"""Classes that choose in turn."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, as_selector

_COLUMN = 'class_scores'


@TASK_UTILS.register_module()
class RoundRobin(BaseSelector):
    """Lets the classes of interest choose an image in turn, by a selector of
    any kind.

    The images are ranked for each class: the selector is given the values of
    this class, ``scores.columns['class_scores'][:, c]``, in place of the
    scores (-inf where the score is -inf). Then each class in turn chooses the
    first image of its ranking that none has chosen. A class with nothing left
    but images of value ``-inf`` is passed over; when this is so for all, the
    selector's choice by the scores themselves follows.

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
        self.selector = as_selector('RoundRobin', selector)
        self.classes = classes if classes is None else list(classes)
        _check_each_once(self.classes)
        self.class_names = None
        if class_names is not None:
            self.check_classes(class_names)
        self.needs_embeddings = self.selector.needs_embeddings
        self.needs_labelled = self.selector.needs_labelled
        self.needs_class_weights = self.selector.needs_class_weights
        self.needs_columns = self.selector.needs_columns
        self.needs_weights = self.selector.needs_weights
        self.needs_draws = self.selector.needs_draws
        self.needs_embedded = self.selector.needs_embedded
        self.needs_gradients = self.selector.needs_gradients
        self.embeddings_dtype = self.selector.embeddings_dtype

    def check_classes(self, names: Sequence[str]) -> None:
        """See :meth:`BaseSelector.check_classes`."""
        self.class_names = list(names)
        self._columns(len(self.class_names))
        self.selector.check_classes(names)

    def with_draws(self, number: Optional[int]) -> RoundRobin:
        """See :meth:`BaseSelector.with_draws`; any class may end up with all
        of them."""
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
        """See :meth:`BaseSelector.order`.

        Raises:
            ValueError: Also if there are no values of each class, or one is
                NaN.
        """
        scores = as_scores(scores)
        table = _class_scores(scores)
        rankings = []
        for number in self._columns(table.shape[1]):
            # What the scorer puts last is last for every class; of these a
            # class wants none, so its ranking ends before them.
            values = np.where(scores.values == -np.inf, -np.inf,
                              table[:, number])
            wanted = int((values != -np.inf).sum())
            # A class draws random numbers of its own: with those of another
            # it would want the same images.
            selector = self.selector.with_seed_key(*self.seed_key, 'class',
                                                   number)
            ranking = selector.order(
                replace(scores, values=values), embeddings, labelled)
            rankings.append(islice(ranking, wanted))

        def draw() -> Iterator[ImageId]:
            chosen = set()
            turns = deque(rankings)
            while turns:
                ranking = turns.popleft()
                image = next((i for i in ranking if i not in chosen), None)
                if image is not None:
                    turns.append(ranking)
                    chosen.add(image)
                    yield image
            # Ranked as late as this, since most never draw so far.
            selector = self.selector.with_seed_key(*self.seed_key)
            for image in selector.order(scores, embeddings, labelled):
                if image not in chosen:
                    yield image

        return draw()

    def _columns(self, number: int) -> Sequence[int]:
        """The numbers of the classes of interest among so many."""
        if self.classes is None:
            return range(number)
        names = self.class_names or []
        classes = []
        for name in self.classes:
            if isinstance(name, str):
                if name not in names:
                    raise ValueError(
                        f'RoundRobin: {name!r} in classes is not one of '
                        f'class_names ({", ".join(names) or "none are given"}'
                        '): give its number, or the names of all classes as '
                        'in metainfo.classes.')
                classes.append(names.index(name))
            elif name < 0:
                raise ValueError(f'RoundRobin: {name} in classes is negative: '
                                 'classes are counted from 0.')
            else:
                classes.append(int(name))
        if max(classes) >= number:
            raise ValueError(
                f'RoundRobin: classes has {max(classes)} but there are only '
                f'{number} classes, 0 to {number - 1}.')
        # Again, as a class may be named by its number and by its name.
        _check_each_once(classes)
        return classes


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
    overflowed = np.flatnonzero(np.isnan(table).any(1))
    if len(overflowed):
        raise ValueError(
            f'{_COLUMN} of image {scores.ids[overflowed[0]]} are NaN: the '
            'model overflowed. Check that the training loss is finite.')
    return table


def _check_each_once(classes: Optional[Sequence]) -> None:
    if classes is not None and (
            not classes or len(set(classes)) < len(classes)):
        raise ValueError(f'RoundRobin: classes is {list(classes)}: name at '
                         'least one, and each once.')

"""One selector keeps a multiple of what is needed, another chooses from it."""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Optional, Union

import numpy as np

from mmal.dist import Processes
from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, as_selector, known_draws


@TASK_UTILS.register_module()
class TwoStage(BaseSelector):
    """Keeps the best images by one selector and lets another choose among
    them, e.g. uncertain images first and those unlike each other then.

    So do many methods for detectors: Yang et al., "Plug and Play Active
    Learning for Object Detection", CVPR 2024 (4 times the budget); Yu et al.,
    "Consistency-based Active Learning for Object Detection", 2022.

    All kept images come in the order of the second selector; the others
    follow as the first one puts them. How many are kept is ``keep_images``,
    or ``keep`` times the number of images that will be drawn. A run knows
    about how many that will be: the images of its budget; where this is in
    boxes or seconds, as many as it would pay if images cost what the labelled
    ones do on average. More or fewer may be drawn all the same.

    Costs what the first selector takes for the kept images and the second one
    for choosing among K of them; the embeddings of these are held in memory,
    O(K·D).

    Args:
        first (dict | BaseSelector): Who keeps images.
        then (dict | BaseSelector): Who chooses among them.
        keep (float, optional): How many times as many images are kept as will
            be drawn, at least 1, rounded up.
        keep_images (int, optional): How many are kept, at least 1.

    Raises:
        ValueError: If not exactly one of ``keep`` and ``keep_images`` is
            given or it is too small, or a stage is no selector; when asked
            for an order, also if ``keep`` is given and nobody can tell how
            many images will be drawn.

    Examples:
        >>> stages = TwoStage(dict(type='mmal.TopN'),
        ...                   dict(type='mmal.BottomN'), keep=2.)
        >>> stages.select([0., 1., 2., 3., 4., 5.], 2)
        [2, 3]
    """

    def __init__(self,
                 first: Union[Mapping, BaseSelector],
                 then: Union[Mapping, BaseSelector],
                 keep: Optional[float] = None,
                 keep_images: Optional[int] = None) -> None:
        if (keep is None) == (keep_images is None):
            raise ValueError(
                f'TwoStage: keep is {keep!r} and keep_images {keep_images!r}: '
                'give one of them, keep as a multiple of the images that will '
                'be drawn, or keep_images.')
        if keep is not None and not 1 <= keep < math.inf:
            raise ValueError(
                f'TwoStage: keep is {keep!r}: give a number of at least 1; '
                'with 1 the second selector has no choice.')
        if keep_images is not None and (isinstance(keep_images, bool)
                                        or keep_images < 1):
            raise ValueError(f'TwoStage: keep_images is {keep_images!r}: give '
                             'a number of images of at least 1.')
        self.first = as_selector('TwoStage', first, 'first')
        self.then = as_selector('TwoStage', then, 'then')
        self.keep = keep
        self.keep_images = keep_images
        stages = self.first, self.then
        self.needs_embeddings = any(s.needs_embeddings for s in stages)
        self.needs_labelled = any(s.needs_labelled for s in stages)
        self.needs_class_scores = any(s.needs_class_scores for s in stages)
        self.needs_class_weights = any(s.needs_class_weights for s in stages)
        self.needs_columns = tuple(dict.fromkeys(
            name for s in stages for name in s.needs_columns))
        self.needs_weights = any(s.needs_weights for s in stages)
        kinds = {s.needs_embedded for s in stages} - {None}
        if len(kinds) > 1:
            raise ValueError(
                'TwoStage: first reads embeddings of '
                f'{self.first.needs_embedded}, and then those of '
                f'{self.then.needs_embedded}: images have one kind, so give '
                'two selectors that read the same.')
        self.needs_embedded = next(iter(kinds), None)
        self.needs_gradients = any(s.needs_gradients for s in stages)
        self.needs_draws = keep is not None or \
            any(s.needs_draws for s in stages)
        halves = all(s.embeddings_dtype == 'float16'
                     for s in stages if s.needs_embeddings)
        self.embeddings_dtype = 'float16' if halves and \
            self.needs_embeddings else 'float32'
        # The kept images are the same in every process only where each can
        # find them alone.
        self.can_share = self.then.can_share and \
            not self.first.needs_embeddings

    @property
    def reads_scores(self) -> bool:
        """See :attr:`BaseSelector.reads_scores`."""
        return self.first.reads_scores or self.then.reads_scores

    def check_classes(self, names: Sequence[str]) -> None:
        """See :meth:`BaseSelector.check_classes`."""
        self.first.check_classes(names)
        self.then.check_classes(names)

    def prepare(self, round: int) -> None:
        """See :meth:`BaseSelector.prepare`."""
        super().prepare(round)
        self.first.prepare(round)
        self.then.prepare(round)

    def with_draws(self, number: Optional[int]) -> TwoStage:
        """See :meth:`BaseSelector.with_draws`; from the first order as many
        are drawn as are kept."""
        other = super().with_draws(number)
        other.then = self.then.with_draws(number)
        return other

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        kept, others = self._keep(scores, embeddings, labelled)
        rows = np.flatnonzero([image in kept for image in scores.ids])
        return chain(
            self._second().order(
                replace(scores, embeddings=None).take(rows),
                embeddings[rows] if self.then.needs_embeddings else None,
                labelled),
            others)

    def order_sharded(self, scores: Scores, embeddings: np.ndarray,
                      labelled: Optional[np.ndarray],
                      processes: Processes) -> Iterator[ImageId]:
        """Choose together with processes that hold other parts of the pool.

        Each process is shown the scores of all images, keeps the same ones,
        and takes part in the second stage with those of its own; see
        :meth:`BaseGreedySelector.order_sharded`.

        Args:
            scores (Scores): Scores of the images of this process.
            embeddings (np.ndarray): [N, D] of the images of this process.
            labelled (np.ndarray, optional): [L, D], all of them in every
                process.
            processes (Processes): How they talk.

        Returns:
            Iterator[int | str]: The ids of all processes' images, with a
            method ``close``.
        """
        shards = processes.gather_objects(replace(scores, embeddings=None))
        every = Scores(
            [image for shard in shards for image in shard.ids],
            np.concatenate([shard.values for shard in shards]),
            np.concatenate([shard.tiebreak for shard in shards]),
            {name: np.concatenate([shard.columns[name] for shard in shards])
             for name in scores.columns})
        kept, others = self._keep(every, None, None)
        rows = np.flatnonzero([image in kept for image in scores.ids])
        return _SharedStages(
            self._second().order_sharded(
                scores.take(rows), embeddings[rows], labelled, processes),
            others)

    def _keep(self, scores: Scores, embeddings: Optional[np.ndarray],
              labelled: Optional[np.ndarray]
              ) -> tuple[set[ImageId], Iterator[ImageId]]:
        """The kept images, and the others in the order of the first stage."""
        number = self.keep_images
        if number is None:
            number = math.ceil(self.keep * known_draws(
                self, 'Give keep_images in place of keep.'))
        first = self.first.with_seed_key(*self.seed_key, 'first').with_draws(
            max(1, min(number, len(scores))))
        order = iter(first.order(scores, embeddings, labelled))
        return set(islice(order, number)), order

    def _second(self) -> BaseSelector:
        return self.then.with_seed_key(*self.seed_key, 'then')


class _SharedStages(Iterator[ImageId]):
    """The second stage, which other processes help with, and what follows."""

    def __init__(self, second: Iterator[ImageId],
                 others: Iterator[ImageId]) -> None:
        self._second = second
        self._images = chain(second, others)

    def __next__(self) -> ImageId:
        return next(self._images)

    def close(self) -> None:
        """Draw no more, and tell the other processes so."""
        self._images = iter(())
        self._second.close()

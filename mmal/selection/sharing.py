"""All processes select together from a pool that each of them can read."""
from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from .base import ImageId, ScoresLike
from .centre_selector import BaseCentreSelector
from .plain_scores import PlainScores
from .processes import Processes


class SharedSelection:
    """Process 0 asks for choices, which all processes make together.

    Each one takes a contiguous share of the images, so that of memory-mapped
    embeddings it reads no more than this. Process 0 calls :meth:`lead`, the
    others :meth:`help`, at the same time.

    Args:
        selector (BaseCentreSelector): One that ``can_share``.
        scores (ScoresLike): Of all N images, the same in every process.
        embeddings (np.ndarray): [N, D] of the same.
        labelled (np.ndarray, optional): [L, D] of the labelled images.
        processes (Processes): How they talk.
    """

    def __init__(self, selector: BaseCentreSelector, scores: ScoresLike,
                 embeddings: np.ndarray, labelled: Optional[np.ndarray],
                 processes: Processes) -> None:
        self._selector = selector
        self._scores = _share(scores, processes)
        self._embeddings = embeddings[_rows(len(scores.ids), processes)]
        self._labelled = labelled
        self._processes = processes

    def lead(self, work: Callable[[], Any]) -> Any:
        """Let the others help until some work is done.

        Args:
            work (callable): Takes nothing; may call :meth:`select`.

        Returns:
            What the work returned.
        """
        try:
            return work()
        finally:
            self._processes.gather_objects(None)

    def select(self, n: int) -> list[ImageId]:
        """Choose n images; see :meth:`BaseSelector.select`.

        Raises:
            ValueError: If this fails in any process.
        """
        self._processes.gather_objects(n)
        return self._choose(n)

    def help(self) -> None:
        """Take part until process 0 has done its work."""
        while True:
            n = self._processes.gather_objects(None)[0]
            if n is None:
                return
            try:
                self._choose(n)
            except ValueError:  # process 0 has it too, and reports it
                pass

    def _choose(self, n: int) -> list[ImageId]:
        return self._selector.select_sharded(
            self._scores, n, self._embeddings, self._labelled,
            self._processes)


def _rows(number: int, processes: Processes) -> slice:
    rank, size = processes.rank, processes.size
    return slice(rank * number // size, (rank + 1) * number // size)


def _share(scores: ScoresLike, processes: Processes) -> PlainScores:
    rows = _rows(len(scores.ids), processes)
    return PlainScores(scores.ids[rows], np.asarray(scores.values)[rows],
                       np.asarray(scores.tiebreak)[rows])

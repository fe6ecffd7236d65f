"""All processes select together from a pool that each of them can read."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Callable, Optional

import numpy as np

from mmal.dist import Processes
from mmal.scores import Scores
from mmal.types import ImageId
from .base import BaseSelector


class SharedSelection:
    """Process 0 draws from an order, which all processes compute together.

    Each one takes a contiguous share of the images, so that of memory-mapped
    embeddings it reads no more than this. Process 0 calls
    :meth:`run_leader`, the others :meth:`run_worker`, at the same time.

    Args:
        selector (BaseSelector): One that ``can_share``.
        scores (Scores): Of all N images, the same in every process.
        embeddings (np.ndarray): [N, D] of the same.
        labelled (np.ndarray, optional): [L, D] of the labelled images.
        processes (Processes): How they talk.
    """

    def __init__(self, selector: BaseSelector, scores: Scores,
                 embeddings: np.ndarray, labelled: Optional[np.ndarray],
                 processes: Processes) -> None:
        rank, size, n = processes.rank, processes.size, len(scores)
        share = slice(rank * n // size, (rank + 1) * n // size)
        self._selector = selector
        # without embeddings of its own: a memory-mapped array travels as the
        # name of its file, which holds those of all images
        self._scores = replace(scores, embeddings=None).take(share)
        self._embeddings = embeddings[share]
        self._labelled = labelled
        self._processes = processes

    def run_leader(self, work: Callable[[Iterator[ImageId]], Any]) -> Any:
        """Give some work an order of all images; the others help.

        Args:
            work (callable): Takes the order, draws what it needs.

        Returns:
            What the work returned.

        Raises:
            ValueError: If the order fails in any process.
        """
        with closing(self._order()) as order:
            return work(order)

    def run_worker(self) -> None:
        """Take part until process 0 has done its work."""
        try:
            order = self._order()
        except ValueError:  # process 0 has it too, and reports it
            return
        for _ in order:
            pass

    def _order(self) -> Iterator[ImageId]:
        return self._selector.order_sharded(
            self._scores, self._embeddings, self._labelled, self._processes)

"""The base class of selectors."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Optional, Protocol, Union

import numpy as np

ImageId = Union[int, str]


class ScoresLike(Protocol):
    """What a selector reads of scores; see :class:`mmal.scoring.Scores`."""
    ids: list[ImageId]
    values: np.ndarray
    tiebreak: np.ndarray


class BaseSelector(metaclass=ABCMeta):
    """Turns scores (and embeddings) and a number into image ids.

    A selector knows no model and reads no image, and works without mmdet.

    Class attributes tell the loop what it needs:

    - ``needs_embeddings``: of the images it chooses from.
    - ``needs_labelled``: the labelled images' embeddings as well.
    - ``embeddings_dtype``: how precisely a run stores them, 'float32' or
      'float16'.
    """

    needs_embeddings: bool = False
    needs_labelled: bool = False
    embeddings_dtype: str = 'float32'

    @abstractmethod
    def select(self,
               scores: ScoresLike,
               n: int,
               embeddings: Optional[np.ndarray] = None,
               labelled: Optional[np.ndarray] = None) -> list[ImageId]:
        """Choose n images.

        Args:
            scores (ScoresLike): Scores of N images, higher = label first.
            n (int): How many to choose, 0 <= n <= N.
            embeddings (np.ndarray, optional): [N, D], float32 or float16,
                in the order of the scores; may be memory-mapped.
            labelled (np.ndarray, optional): [L, D], the same of the labelled
                images.

        Returns:
            list[int | str]: n different ids, the most wanted first.

        Raises:
            ValueError: If n is negative or more than N.
        """


def check_count(n: int, available: int) -> None:
    """Raise a ValueError unless 0 <= n <= available."""
    if not 0 <= n <= available:
        raise ValueError(
            f'cannot select {n} of {available} images: ask for 0 to '
            f'{available}.')


def best_first(scores: ScoresLike) -> np.ndarray:
    """Positions of the scores from the highest to the lowest.

    Args:
        scores (ScoresLike): Scores of N images.

    Returns:
        np.ndarray: int64 [N]. Equal values are ordered by their tiebreak.
    """
    return np.lexsort((scores.tiebreak, -np.asarray(scores.values)))

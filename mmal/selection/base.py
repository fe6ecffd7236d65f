"""The base class of selectors."""
from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
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
    - ``needs_class_scores``: a value of each image and class, float [N, C],
      higher = label first, in ``scores.columns['class_scores']``.
    - ``needs_weights``: scores that are not negative, as weights.
    - ``embeddings_dtype``: how precisely a run stores them, 'float32' or
      'float16'.
    - ``can_share``: whether it has a method ``select_sharded``, by which
      several processes choose together, each from a part of the pool.
    """

    needs_embeddings: bool = False
    needs_labelled: bool = False
    needs_class_scores: bool = False
    needs_weights: bool = False
    embeddings_dtype: str = 'float32'
    can_share: bool = False
    round: int = 0
    part: tuple[Union[int, str], ...] = ()

    def check_classes(self, names: Sequence[str]) -> None:  # noqa: B027
        """Learn the names of the classes.

        Raises:
            ValueError: If the settings do not suit these.
        """

    def one_of_many(self, *part: Union[int, str]) -> BaseSelector:
        """A copy that draws random numbers of its own.

        Args:
            *part (int | str): Which one it is; with the seed and the round
                part of the key of its random numbers.
        """
        other = copy.copy(self)
        other.part = (*self.part, *part)
        return other

    def prepare(self, round: int) -> None:
        """Get ready for a query; each round draws other random numbers.

        With the same ones an image would win or lose again and again.

        Args:
            round (int): The round, from 0.
        """
        self.round = round

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


def lowest_first(scores: ScoresLike) -> np.ndarray:
    """Positions of the scores from the lowest to the highest, then ``-inf``.

    Args:
        scores (ScoresLike): Scores of N images.

    Returns:
        np.ndarray: int64 [N]. Equal values are ordered by their tiebreak.
    """
    values = np.asarray(scores.values)
    return np.lexsort((scores.tiebreak, values, values == -np.inf))


def check_weights(owner: str, use: str, scores: ScoresLike,
                  advice: str) -> np.ndarray:
    """The scores where they are used as weights.

    Args:
        owner (str): Who asks.
        use (str): What is done with them.
        scores (ScoresLike): Scores of N images.
        advice (str): What to do if they are of no use.

    Returns:
        np.ndarray: float64 [N], finite and >= 0, or -inf.

    Raises:
        ValueError: If one is neither; the message names the image.
    """
    values = np.asarray(scores.values, np.float64)
    bad = np.flatnonzero((values != -np.inf)
                         & ~((values >= 0) & (values < np.inf)))
    if len(bad):
        raise ValueError(
            f'{owner} {use}, which must be finite and >= 0 (or -inf: last), '
            f'but {len(bad)} are not: image {scores.ids[bad[0]]} has '
            f'{values[bad[0]]:.4g}. Use a scorer that gives such '
            f'scores{advice}.')
    return values


def check_rows(owner: str, name: str, rows: Optional[np.ndarray],
               number: int) -> None:
    """Raise a ValueError unless ``rows`` has the shape [number, D]."""
    shape = None if rows is None else rows.shape
    if shape is None or len(shape) != 2 or shape[0] != number:
        raise ValueError(
            f'{owner} needs {name} of shape [{number}, D], one row per '
            f'image, but was given {shape}.')


def check_option(owner: str, name: str, value: str, known: tuple) -> None:
    """Raise a ValueError unless ``value`` is one of the known ones."""
    if value not in known:
        raise ValueError(f'{owner}: {name} is {value!r}: choose one of '
                         f'{", ".join(map(repr, known))}.')

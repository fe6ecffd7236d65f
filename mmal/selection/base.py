"""The base class of selectors."""
from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores
from mmal.types import ImageId


class BaseSelector(metaclass=ABCMeta):
    """Puts the images of a pool in an order, best first.

    A selector knows no model, reads no image and knows no budget: whoever
    asks draws from the order as many images as can be paid. It works without
    mmengine, mmcv and mmdet.

    Class attributes tell the loop what it needs:

    - ``needs_embeddings``: of the images it chooses from.
    - ``needs_labelled``: the labelled images' embeddings as well.
    - ``needs_class_scores``: a value of each image and class, float [N, C],
      higher = label first, in ``scores.columns['class_scores']``.
    - ``needs_class_weights``: ``class_weights`` and ``weighted_entropy`` of
      PAL in ``scores.columns`` as well.
    - ``needs_columns``: names of other values of each image, float [N],
      higher = label it first, in ``scores.columns``.
    - ``needs_weights``: scores that are not negative, as weights.
    - ``needs_draws``: about how many images will be drawn from the order,
      see :meth:`with_draws`.
    - ``needs_embedded``: what the embeddings must be of, where not of whole
      images: 'detections' or 'class distributions', see ``embeds`` of
      scorers and embedders.
    - ``needs_gradients``: embeddings that are gradients of the images'
      losses, and scores that are their products with the gradient to follow.
    - ``embeddings_dtype``: how precisely a run stores them, 'float32' or
      'float16'.
    - ``can_share``: whether it has a method ``order_sharded``, by which
      several processes choose together, each from a part of the pool.
    """

    needs_embeddings: bool = False
    needs_labelled: bool = False
    needs_class_scores: bool = False
    needs_class_weights: bool = False
    needs_columns: tuple[str, ...] = ()
    needs_weights: bool = False
    needs_draws: bool = False
    needs_embedded: Optional[str] = None
    needs_gradients: bool = False
    embeddings_dtype: str = 'float32'
    can_share: bool = False
    round: int = 0
    draws: Optional[int] = None
    seed_key: tuple[Union[int, str], ...] = ()

    def check_classes(self, names: Sequence[str]) -> None:  # noqa: B027
        """Learn the names of the classes.

        Raises:
            ValueError: If the settings do not suit these.
        """

    @property
    def reads_scores(self) -> bool:
        """Whether scores decide, and not embeddings alone."""
        return self.needs_weights or self.needs_gradients or \
            not self.needs_embeddings

    def with_seed_key(self, *key: Union[int, str]) -> BaseSelector:
        """A copy that draws random numbers of its own.

        Args:
            *key (int | str): With the seed and the round the key of its
                random numbers.
        """
        other = copy.copy(self)
        other.seed_key = (*self.seed_key, *key)
        return other

    def with_draws(self, number: Optional[int]) -> BaseSelector:
        """A copy that knows about how many images will be drawn.

        What a selector makes of it, its order has all images, and whoever
        draws stops when it likes. It is no budget: that may be in boxes or
        seconds, and then the number is an estimate.

        Args:
            number (int, optional): At least 1; None if nobody can tell.
        """
        other = copy.copy(self)
        other.draws = number
        return other

    def prepare(self, round: int) -> None:
        """Get ready for a query; each round draws other random numbers.

        With the same ones an image would win or lose again and again.

        Args:
            round (int): The round, from 0.
        """
        self.round = round

    @abstractmethod
    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """All images, best first.

        Where each choice depends on those before it, an image is computed
        when it is drawn.

        Args:
            scores (Scores | sequence[float] | Tensor): Of N images, higher =
                label first; plain numbers are of the images 0 to N - 1.
            embeddings (np.ndarray, optional): [N, D], float32 or float16,
                in the order of the scores; may be memory-mapped.
            labelled (np.ndarray, optional): [L, D], the same of the labelled
                images.

        Returns:
            Iterator[int | str]: The N ids, each once.

        Raises:
            ValueError: If the selector cannot work with these; at once, not
                when the first image is drawn.
        """

    def select(self,
               scores: Union[Scores, Sequence[float]],
               n: int,
               embeddings: Optional[np.ndarray] = None,
               labelled: Optional[np.ndarray] = None) -> list[ImageId]:
        """The first n images of :meth:`order`.

        A selector that needs to know how many are drawn, and was not told,
        learns that it is n.

        Args:
            scores, embeddings, labelled: See :meth:`order`.
            n (int): How many, 0 <= n <= N.

        Raises:
            ValueError: Also if n is negative or more than N.
        """
        check_count(n, len(scores))
        if n == 0:
            return []
        unknown = self.needs_draws and self.draws is None
        selector = self.with_draws(n) if unknown else self
        return list(islice(selector.order(scores, embeddings, labelled), n))


def check_count(n: int, available: int) -> None:
    """Raise a ValueError unless 0 <= n <= available."""
    if not 0 <= n <= available:
        raise ValueError(
            f'cannot select {n} of {available} images: ask for 0 to '
            f'{available}.')


def as_selector(owner: str,
                selector: Union[Mapping, BaseSelector],
                name: str = 'selector') -> BaseSelector:
    """A selector that another one asks, built if it is a config.

    Args:
        owner (str): Who asks.
        selector (mapping | BaseSelector): The selector or its config.
        name (str): The argument that gives it.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(selector, Mapping):
        selector = TASK_UTILS.build(dict(selector))
    if not isinstance(selector, BaseSelector):
        raise ValueError(
            f'{owner}: {name} is {selector!r}, which is no selector: give a '
            "config such as dict(type='mmal.TopN').")
    return selector


def known_draws(selector: BaseSelector, advice: str) -> int:
    """About how many images will be drawn.

    Args:
        selector (BaseSelector): Who needs to know.
        advice (str): How to do without.

    Raises:
        ValueError: If nobody has told it.
    """
    if selector.draws is None:
        raise ValueError(
            f'{type(selector).__name__} needs to know about how many images '
            'will be drawn, which nobody can tell: where the budget is in '
            'boxes or seconds it takes labelled images to estimate it. '
            f'{advice}')
    return selector.draws


def best_first(scores: Scores) -> np.ndarray:
    """Positions of the scores from the highest to the lowest.

    Args:
        scores (Scores): Scores of N images.

    Returns:
        np.ndarray: int64 [N]. Equal values are ordered by their tiebreak.
    """
    return np.lexsort((scores.tiebreak, -np.asarray(scores.values)))


def followed_by_others(rows: Iterator[int],
                       scores: Scores) -> Iterator[ImageId]:
    """Images in an order of their own, then all others, best first.

    Args:
        rows (iterator[int]): Positions of some images, each once; drawn one
            by one.
        scores (Scores): Scores of N images.

    Yields:
        int | str: The N ids, each once.
    """
    left = np.ones(len(scores), bool)
    for row in rows:
        left[row] = False
        yield scores.ids[row]
    for row in best_first(scores):
        if left[row]:
            yield scores.ids[row]


def rows_by_tiebreak(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the order of the tiebreaks, so that of equal images the
    first is the one to take.

    Args:
        scores (Scores): Scores of N images.

    Returns:
        tuple[np.ndarray, np.ndarray]: int64, the images that have a score, and
        those of ``-inf``, which come last.
    """
    rows = np.argsort(scores.tiebreak, kind='stable')
    has_score = scores.values[rows] > -np.inf
    return rows[has_score], rows[~has_score]


def lowest_first(scores: Scores) -> np.ndarray:
    """Positions of the scores from the lowest to the highest, then ``-inf``.

    Args:
        scores (Scores): Scores of N images.

    Returns:
        np.ndarray: int64 [N]. Equal values are ordered by their tiebreak.
    """
    values = np.asarray(scores.values)
    return np.lexsort((scores.tiebreak, values, values == -np.inf))


def check_weights(owner: str, use: str, scores: Scores,
                  advice: str) -> np.ndarray:
    """The scores where they are used as weights.

    Args:
        owner (str): Who asks.
        use (str): What is done with them.
        scores (Scores): Scores of N images.
        advice (str): What to do if they are of no use.

    Returns:
        np.ndarray: float64 [N], finite and >= 0, or -inf.

    Raises:
        ValueError: If one is neither; the message names the image.
    """
    values = np.asarray(scores.values, np.float64)
    unfit = np.flatnonzero((values != -np.inf)
                           & ~((values >= 0) & (values < np.inf)))
    if len(unfit):
        raise ValueError(
            f'{owner} {use}, which must be finite and >= 0 (or -inf: last), '
            f'but {len(unfit)} are not: image {scores.ids[unfit[0]]} has '
            f'{values[unfit[0]]:.4g}. Use a scorer that gives such '
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


def check_labelled(owner: str, labelled: Optional[np.ndarray],
                   embeddings: np.ndarray, least: int = 1) -> None:
    """Raise a ValueError unless a selector can start from the labelled images.

    Args:
        owner (str): Who asks.
        labelled (np.ndarray, optional): [L, D], of these images.
        embeddings (np.ndarray): [N, D], of those it chooses from.
        least (int): The smallest L.
    """
    if labelled is None or len(labelled) < least:
        raise ValueError(
            f"{owner}(start='labelled') needs the embeddings of the labelled "
            "images: name these, or use start='random'.")
    check_rows(owner, 'labelled', labelled, len(labelled))
    if labelled.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f'the embeddings have {embeddings.shape[1]} dimensions but those '
            f'of the labelled images {labelled.shape[1]}: take both from one '
            'model.')


def check_option(owner: str, name: str, value: str, known: tuple) -> None:
    """Raise a ValueError unless ``value`` is one of the known ones."""
    if value not in known:
        raise ValueError(f'{owner}: {name} is {value!r}: choose one of '
                         f'{", ".join(map(repr, known))}.')

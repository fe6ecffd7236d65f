"""PAL's choice: a budget for each class, the larger the rarer it is."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    check_option,
    check_rows,
    followed_by_others,
    known_draws,
)

# columns and their number of dimensions
_COLUMNS = dict(class_scores=2, class_weights=2, weighted_entropy=1)


@TASK_UTILS.register_module()
class ClassBudgets(BaseSelector):
    r"""Shares the images that will be drawn among the classes, and chooses
    for each class uncertain images that are unlike each other and show rare
    classes.

    Sharma, Bersamin and Subramanian, "Portable Active Learning for Object
    Detection" (PAL), CVPR 2026, with what ``mmal.LogisticUncertaintyScorer``
    gives: the largest uncertainty u of each class in an image
    (``class_scores``), the weight r of each class that it shows
    (``class_weights``) and its weighted entropy (``weighted_entropy``).

    Class c has the budget :math:`b\, r_c / \sum_k r_k` of the b images that
    will be drawn, see :func:`class_budgets`. The rarest class chooses first,
    among the ``keep`` times :math:`b_c` images of largest u that no class
    before it has taken; it takes the :math:`b_c` of the largest

    .. math:: w_u u + w_d D + w_i (E + R)

    D = 1 for the first of them by u, and for the others one minus the largest
    cosine of the embedding with one before it (RCSP, eq. 9); E is the
    weighted entropy (CWIE, eq. 7); R the sum of r over the classes that the
    image shows (RCDI, eq. 8). D, E and R are scaled to [0, 1] over these
    candidates, and 0 where all are the same.

    The images chosen come as this sum puts them; then all others by their
    scores, those of ``-inf`` last.

    Cost for N images, C classes, K candidates of a class and D numbers each:
    O(C·N log N + C·K²·D); K² numbers are held.

    Args:
        keep (float): How many times its budget a class looks at, at least 1.
        uncertainty_weight (float): w_u, at least 0 as the others.
        diversity_weight (float): w_d.
        image_weight (float): w_i.
        dtype (str): How a run stores the embeddings, 'float32' or 'float16'.

    Raises:
        ValueError: If a key is none of these; when asked for an order, if
            embeddings or columns are missing or nobody can tell how many
            images will be drawn.
    """

    needs_embeddings = True
    needs_class_scores = True
    needs_class_weights = True
    needs_draws = True

    def __init__(self,
                 keep: float = 2.0,
                 uncertainty_weight: float = 0.9,
                 diversity_weight: float = 0.02,
                 image_weight: float = 0.04,
                 dtype: str = 'float32') -> None:
        for name, value, least in (
                ('keep', keep, 1),
                ('uncertainty_weight', uncertainty_weight, 0),
                ('diversity_weight', diversity_weight, 0),
                ('image_weight', image_weight, 0)):
            if not least <= value < math.inf:
                raise ValueError(f'ClassBudgets: {name} is {value}: give a '
                                 f'number of at least {least}.')
        check_option('ClassBudgets', 'dtype', dtype, ('float32', 'float16'))
        self.keep = keep
        self.uncertainty_weight = uncertainty_weight
        self.diversity_weight = diversity_weight
        self.image_weight = image_weight
        self.embeddings_dtype = dtype

    @property
    def reads_scores(self) -> bool:
        """See :attr:`BaseSelector.reads_scores`."""
        return True

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        if not len(scores):
            return iter(())
        check_rows('ClassBudgets', 'embeddings', embeddings, len(scores))
        table, weights, entropy = (
            np.asarray(scores.columns.get(name, ()), np.float64)
            for name in _COLUMNS)
        if any(len(column) != len(scores) or column.ndim != dims
               for column, dims in zip((table, weights, entropy),
                                       _COLUMNS.values())) or \
                table.shape != weights.shape:
            raise ValueError(
                'ClassBudgets reads class_scores and class_weights of shape '
                f'[{len(scores)}, C] and weighted_entropy of shape '
                f'[{len(scores)}], but the scores have '
                f'{", ".join(scores.columns) or "no columns"}: use '
                'mmal.LogisticUncertaintyScorer.')
        draws = known_draws(self, "Set budget.unit='images'.")

        shown = (table > -np.inf) & (scores.values > -np.inf)[:, None]
        rarity = weights.max(0)
        budgets = class_budgets(rarity, shown.sum(0), draws)
        richness = weights.sum(1)
        left = np.ones(len(scores), bool)
        value = np.zeros(len(scores))
        for c in np.argsort(-rarity, kind='stable'):
            rows = np.flatnonzero(shown[:, c] & left)
            rows = rows[np.lexsort((scores.tiebreak[rows], -table[rows, c]))]
            rows = rows[:math.ceil(self.keep * budgets[c])]
            if not len(rows):
                continue
            value[rows] = self.uncertainty_weight * table[rows, c] + \
                self.diversity_weight * _scaled(_novelty(embeddings[rows])) + \
                self.image_weight * (
                    _scaled(entropy[rows]) + _scaled(richness[rows]))
            best = np.lexsort((scores.tiebreak[rows], -value[rows]))
            left[rows[best[:budgets[c]]]] = False
        chosen = np.flatnonzero(~left)
        chosen = chosen[np.lexsort((scores.tiebreak[chosen], -value[chosen]))]
        return followed_by_others(iter(chosen.tolist()), scores)


def class_budgets(weights: np.ndarray, available: np.ndarray,
                  total: int) -> np.ndarray:
    """How many images each class may choose.

    Shares go by the weights. What a class cannot use goes to the others, by
    their weights again, and evenly where these are 0. Parts of images are
    rounded by the largest remainder, the first of equals.

    Args:
        weights (np.ndarray): float64 [C], at least 0.
        available (np.ndarray): int [C], the most that a class can use.
        total (int): To be shared out.

    Returns:
        np.ndarray: int64 [C], which add up to ``total``, or to all that is
        available.

    Example:
        >>> class_budgets(np.array([.5, .3, .2]), np.array([2, 9, 9]), 8)
        array([2, 4, 2])
    """
    available = np.asarray(available, np.int64)
    if total >= available.sum():
        return available.copy()
    budgets = np.zeros(len(available), np.int64)
    open_classes = available > 0
    while True:
        own = np.where(open_classes, weights, 0.)
        if not own.any():
            own = open_classes.astype(np.float64)
        shares = (total - budgets.sum()) * (own / own.sum())
        full = open_classes & (shares >= available)
        if not full.any():
            break
        budgets[full] = available[full]
        open_classes &= ~full
    whole = np.floor(shares).astype(np.int64)
    remainders = np.where(open_classes, shares - whole, -1)
    missing = total - budgets.sum() - whole.sum()
    whole[np.argsort(-remainders, kind='stable')[:missing]] += 1
    return budgets + whole


def _novelty(embeddings: np.ndarray) -> np.ndarray:
    """float64 [K], 1 for the first row and for the others one minus the
    largest cosine with a row before."""
    rows = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(length > 0, length, 1)
    cosines = rows @ rows.T
    cosines[np.triu_indices(len(rows))] = -np.inf
    nearest = cosines.max(1)
    nearest[0] = 0
    return 1 - nearest


def _scaled(values: np.ndarray) -> np.ndarray:
    """Moved and stretched to [0, 1]; zeros where all are the same."""
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else values * 0

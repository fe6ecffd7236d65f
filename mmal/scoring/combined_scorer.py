"""Several scorers as one."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Optional

import numpy as np
from torch import Tensor, nn

from mmal.models.utils.shared_passes import shared_passes
from mmal.registry import TASK_UTILS
from .base import BaseScorer
from .batch import Batch
from .data import ScoringData
from .options import check_choice

RULES = ('rank_sum', 'sum', 'product')
_KEY = 'active_learning.scorer'
# what it needs, or uses, if any part does
_ANY = ('needs_images', 'needs_labels', 'needs_committee', 'uses_committee',
        'needs_embeddings')
# columns that are no part's own, read by whoever runs the scorer
_SHARED = ('embedding', 'class_boxes')


@TASK_UTILS.register_module()
class CombinedScorer(BaseScorer):
    """Combines the scores of several scorers, its parts.

    With weights w_a > 0 and the N values s_a of each part a, the score of an
    image is

    - 'rank_sum': the sum of w_a·r_a, r_a in (0, 1) the share of the images
      below it by this part, those of equal value and itself counted half. It
      does not matter how large values are, nor how they are spread;
    - 'sum': the sum of w_a·(s_a - mean) / std over the pool; a part whose
      values are all equal counts nothing. It may be negative;
    - 'product': the product of s_a^w_a. Its parts must not be negative.

    An image that any part puts last (``-inf``, e.g. for nothing detected) is
    last here as well, and no other image's score depends on it. Who wants the
    other parts to speak for such images takes each part's share by
    :class:`~mmal.selection.Quota`.

    The values of each part are kept as a column of its name, and what else it
    tells of an image as ``<part>.<column>``; values of classes have no
    combined ones.

    Where the run has no committee, the parts share one forward pass of each
    image as far as they make the same one (see
    :func:`~mmal.models.utils.shared_passes.shared_passes`); parts that need
    gradients, or change images or layers, make passes of their own.

    Args:
        scorers (dict[str, dict]): Configs of at least one part, by names
            without a dot.
        rule (str): 'rank_sum', 'sum' or 'product'.
        weights (dict[str, float], optional): Finite and above 0; 1 for those
            that are not named.

    Raises:
        ValueError: If there is no part or a name, the rule or a weight makes
            no sense, or more than one part gives embeddings; when scores are
            computed, also if a part gives +inf ('sum', 'product') or negative
            values ('product'), or if any value is NaN.

    Examples:
        >>> scorer = CombinedScorer(dict(
        ...     entropy=dict(type='mmal.EntropyScorer'),
        ...     random=dict(type='mmal.RandomScorer')),
        ...     weights=dict(random=.1))
        >>> scorer.gives_columns
        ('entropy', 'random')
    """

    def __init__(self,
                 scorers: Mapping[str, dict],
                 rule: str = 'rank_sum',
                 weights: Optional[Mapping[str, float]] = None) -> None:
        check_choice('rule', rule, RULES)
        if not isinstance(scorers, Mapping) or not scorers or not all(
                isinstance(name, str) and name and '.' not in name
                and name not in ('ids', 'score', 'embeddings_shape', *_SHARED)
                for name in scorers):
            raise ValueError(
                f'{_KEY}.scorers has the names '
                f'{list(scorers or ())}: name at least one part, without a '
                "dot and not 'ids', 'score', 'embedding' or 'class_boxes', "
                "e.g. dict(entropy=dict(type='mmal.EntropyScorer')).")
        unknown = set(weights or ()).difference(scorers)
        if unknown:
            raise ValueError(
                f'{_KEY}.weights names {", ".join(sorted(unknown))}, but the '
                f'parts are {", ".join(scorers)}.')
        self.weights = {
            name: float((weights or {}).get(name, 1)) for name in scorers}
        for name, weight in self.weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(
                    f'{_KEY}.weights.{name} is {weight:g}: give a finite '
                    'number above 0, or leave this part out of scorers.')
        self.rule = rule
        self.scorers: dict[str, BaseScorer] = {
            name: TASK_UTILS.build(dict(cfg)) for name, cfg in scorers.items()}
        self.may_be_negative = rule == 'sum'
        self._shares = True
        self._take_flags()

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        for part in self.scorers.values():
            part.check(model, data)
        self._take_flags()  # some depend on the model
        negative = [name for name, part in self.scorers.items()
                    if part.may_be_negative]
        if self.rule == 'product' and negative:
            raise ValueError(
                f"{_KEY}.rule is 'product', but the values of "
                f'{", ".join(negative)} may be negative: set '
                f"{_KEY}.rule='rank_sum'.")

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.prepare`."""
        for part in self.scorers.values():
            part.prepare(model, data)
        # passes with dropout differ, and other members are other models
        self._shares = data.committee is None

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The columns of all parts, as ``<part>.<column>``; ``embedding`` and
        ``class_boxes`` of the first one that gives them."""
        if not self._shares or batch.inputs is None:
            return self._process(model, batch)
        with shared_passes(model):
            return self._process(model, batch)

    def compute(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """See :meth:`BaseScorer.compute`."""
        parts = self._parts(columns)
        with_score = np.logical_and.reduce(
            [values > -np.inf for values in parts.values()])
        total = np.full(with_score.shape, -np.inf)
        if with_score.any():
            total[with_score] = combine(
                {name: v[with_score] for name, v in parts.items()},
                self.rule, self.weights)
        return total

    def kept_columns(self,
                     columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The values of each part as well, [N]."""
        return {**columns, **self._parts(columns)}

    def _process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        rows = {}
        for name, part in self.scorers.items():
            for column, values in part.process(model, batch).items():
                if column in _SHARED:
                    rows.setdefault(column, values)
                else:
                    rows[f'{name}.{column}'] = values
        return rows

    def _parts(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """float64 [N], the values of each part."""
        parts = {}
        for name, part in self.scorers.items():
            own = {column.removeprefix(f'{name}.'): values
                   for column, values in columns.items()
                   if column.startswith(f'{name}.')}
            # where there is no image there are no columns
            values = np.asarray(
                part.compute(own) if own else np.zeros(0), np.float64)
            if np.isnan(values).any():
                raise ValueError(
                    f'{_KEY}.scorers.{name} gives {np.isnan(values).sum()} of '
                    f'{len(values)} images NaN: the model overflowed. Check '
                    'that the training loss is finite.')
            parts[name] = values
        return parts

    def _take_flags(self) -> None:
        parts = self.scorers.values()
        for flag in _ANY:
            setattr(self, flag, any(getattr(part, flag) for part in parts))
        self.gives_columns = (*self.scorers, *(
            f'{name}.{column}' for name, part in self.scorers.items()
            for column in part.gives_columns or ()))
        embedding = [name for name, part in self.scorers.items()
                     if part.needs_embeddings]
        if len(embedding) > 1:
            raise ValueError(
                f'{_KEY}.scorers: {", ".join(embedding)} each give embeddings '
                'of their own, and a selector reads one kind: keep one.')
        self.embeds = next((part.embeds for part in parts
                            if part.needs_embeddings), None)


def combine(parts: Mapping[str, np.ndarray], rule: str,
            weights: Mapping[str, float]) -> np.ndarray:
    """One score of several values.

    Args:
        parts (mapping[str, np.ndarray]): float64 [N] each, N >= 1, none of
            them -inf or NaN.
        rule (str): See :class:`CombinedScorer`.
        weights (mapping[str, float]): Of the same names, above 0.

    Returns:
        np.ndarray: float64 [N], higher = label it first.

    Raises:
        ValueError: If a value does not suit the rule.
    """
    number = len(next(iter(parts.values())))
    total = np.full(number, 1. if rule == 'product' else 0.)
    for name, values in parts.items():
        if rule == 'rank_sum':
            _, place, counts = np.unique(
                values, return_inverse=True, return_counts=True)
            shares = (counts.cumsum() - counts / 2) / number
            total += weights[name] * shares[place]
            continue
        unfit = ~np.isfinite(values)
        if rule == 'product':
            unfit |= values < 0
        if unfit.any():
            raise ValueError(
                f'{_KEY}.rule is {rule!r}, but the part {name} gives '
                f'{unfit.sum()} of {number} images values such as '
                f'{values[unfit][0]:.4g}: set {_KEY}.rule to '
                "'rank_sum', which takes any.")
        if rule == 'sum':
            if values.min() < values.max():
                # scaled first, so that squares neither overflow nor vanish
                scaled = values / np.abs(values).max()
                total += weights[name] * (
                    scaled - scaled.mean()) / scaled.std()
        else:
            total *= values**weights[name]
    return total

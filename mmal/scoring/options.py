"""Checks of what a config may say."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Optional

_WEIGHTS = 'active_learning.scorer.class_weights'


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise a ValueError unless a scorer's key has one of a few values.

    Args:
        name (str): The key, e.g. 'aggregation'.
        value (str): What the config says.
        choices (iterable[str]): What it may say.
    """
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(
            f'active_learning.scorer.{name} is {value!r}: choose one of '
            f'{", ".join(map(repr, choices))}.')


def check_score_thr(value: float,
                    key: str = 'active_learning.scorer') -> None:
    """Raise a ValueError unless a ``score_thr`` is in [0, 1].

    Args:
        value (float): What the config says.
        key (str): Whose it is.
    """
    if not 0 <= value <= 1:
        raise ValueError(
            f'{key}.score_thr is {value}: give a score from 0 to 1; above 1 '
            'no detection would count.')


def check_class_weights(weights: Optional[Sequence[float]]) -> None:
    """Raise a ValueError unless a scorer's ``class_weights`` are weights."""
    if weights is None:
        return
    if not all(0 <= w < math.inf for w in weights) or not any(weights):
        raise ValueError(f'{_WEIGHTS} is {list(weights)}: give numbers of at '
                         'least 0, not all of them 0.')


def check_class_number(weights: Optional[Sequence[float]],
                       num_classes: int) -> None:
    """Raise a ValueError unless each class has a weight."""
    if weights is not None and len(weights) != num_classes:
        raise ValueError(
            f'{_WEIGHTS} has {len(weights)} numbers, but the detector '
            f'{num_classes} classes: give one for each, in the order of its '
            'classes.')

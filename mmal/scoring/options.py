"""Checks of what a config may say."""
from __future__ import annotations

from collections.abc import Iterable


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


def check_score_thr(value: float) -> None:
    """Raise a ValueError unless a scorer's ``score_thr`` is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(
            f'active_learning.scorer.score_thr is {value}: give a score from '
            '0 to 1; above 1 no detection would count.')

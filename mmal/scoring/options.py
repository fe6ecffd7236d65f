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

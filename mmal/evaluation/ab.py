"""An A/B test of two selections: splits and relative changes.

Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
section V and table V.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from mmal.randomness import seeded_order

Name = Union[int, str]


@dataclass(frozen=True)
class ABSplit:
    """What is trained and tested on in one repetition.

    Args:
        train (tuple[list, list]): Images of A and of B to train on.
        test (tuple[list, list]): Images of A and of B to test on.
    """
    train: tuple[list[Name], list[Name]]
    test: tuple[list[Name], list[Name]]


def ab_split(first: Iterable[Name],
             second: Iterable[Name],
             fraction: float = 0.1,
             seed: int = 0,
             number: int = 0) -> ABSplit:
    """Split each of two selections into training and test images at random.

    An image's place depends on its name, the seed and the repetition alone.
    One that both selections chose and that is tested on in either is not
    trained on in the other.

    Args:
        first (iterable[int | str]): The images of selection A, by name.
        second (iterable[int | str]): Those of B.
        fraction (float): The part of each that is tested on, in (0, 1);
            rounded, at least one image is on either side.
        seed (int): The seed of all repetitions.
        number (int): The repetition.

    Returns:
        ABSplit: All lists in random order.

    Raises:
        ValueError: If ``fraction`` is not in (0, 1), or a selection has fewer
            than two images.

    Examples:
        >>> split = ab_split(range(10), range(10, 20), 0.2)
        >>> [len(x) for x in (*split.train, *split.test)]
        [8, 8, 2, 2]
    """
    if not 0 < fraction < 1:
        raise ValueError(f'fraction is {fraction}: give the part of the '
                         'images to test on, between 0 and 1.')
    test, train = [], []
    for names in (first, second):
        order = seeded_order(names, seed, number, 'ab_test')
        if len(order) < 2:
            raise ValueError(
                f'a selection has {len(order)} image(s): at least two are '
                'needed to train on some and test on others.')
        # at least one image to test on, and one to train on
        size = min(max(1, round(fraction * len(order))), len(order) - 1)
        test.append(order[:size])
        train.append(order[size:])
    # both selections may have chosen an image: no model may see a test image
    tested = set().union(*test)
    train = [[n for n in names if n not in tested] for names in train]
    return ABSplit(tuple(train), tuple(test))


def relative_change(new: Optional[float],
                    reference: Optional[float]) -> Optional[float]:
    """By how many percent a value is above another.

    Args:
        new (float, optional): The AP of a model.
        reference (float, optional): That of the reference model.

    Returns:
        float | None: None where one is missing or the reference is not
        above 0.

    Examples:
        >>> round(relative_change(0.42, 0.4), 6)
        5.0
    """
    if new is None or reference is None or not reference > 0:
        return None
    return 100 * (new / reference - 1)


@dataclass(frozen=True)
class Spread:
    """Mean and deviation of a few values.

    Args:
        mean (float, optional): None without a value.
        std (float, optional): Sample standard deviation (divided by
            ``count - 1``); None with fewer than two values.
        count (int): How many values there are.
    """
    mean: Optional[float]
    std: Optional[float]
    count: int


def spread(values: Sequence[Optional[float]]) -> Spread:
    """Mean and standard deviation of what is not None.

    Examples:
        >>> spread([1.0, None, 3.0])
        Spread(mean=2.0, std=1.4142135623730951, count=2)
    """
    known = np.array([v for v in values if v is not None], np.float64)
    return Spread(
        float(known.mean()) if len(known) else None,
        float(known.std(ddof=1)) if len(known) > 1 else None, len(known))

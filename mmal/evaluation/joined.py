"""Arrays of images that are joined to those of a data set."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, fields
from typing import TypeVar

import numpy as np

J = TypeVar('J', bound='JoinedArrays')


def no_rows(*shape: int, dtype: type = np.float64):
    """A dataclass field that is an array [0, *shape] by default."""
    return field(default_factory=lambda: np.zeros((0, *shape), dtype))


class JoinedArrays:
    """A dataclass whose fields are arrays, or such dataclasses.

    Without arguments it holds nothing, with the shapes and types of arrays.
    """

    @classmethod
    def join(cls: type[J], parts: Iterable[J]) -> J:
        """What several images have, one after another; nothing of none."""
        # the empty one keeps shapes and types where there is no image at all
        parts = [cls(), *parts]
        joined = []
        for f in fields(cls):
            values = [getattr(part, f.name) for part in parts]
            first = values[0]
            joined.append(
                type(first).join(values) if isinstance(first, JoinedArrays)
                else np.concatenate(values))
        return cls(*joined)

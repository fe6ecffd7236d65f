"""Types that every room knows."""
from __future__ import annotations

from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from torch import Tensor

# as in the COCO file: whole numbers, or text
ImageId = Union[int, str]

# the raw outputs of a head: for each kind of output one tensor a level
Outputs = tuple[list['Tensor'], ...]

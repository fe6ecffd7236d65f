"""Where selectors compute, and embeddings there."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from .distances import block_rows

# What rows leave free of a GPU's memory, and numbers of those rows that it is
# given at a time: a few copies of these fit into what is free.
_RESERVED_BYTES = 3 * 2**29
_AT_ONCE = 2**25


def check_device(owner: str, name: str) -> None:
    """Raise a ValueError unless :func:`device_of` can find the device."""
    try:
        device = device_of(name)
    except (RuntimeError, TypeError):  # what torch raises of odd names
        device = None
    # a number would be a GPU too
    if not isinstance(name, str) or device is None or \
            device.type not in ('cpu', 'cuda'):
        raise ValueError(f"{owner}: device is {name!r}: choose 'cpu', 'auto', "
                         "'cuda' or one GPU, as 'cuda:0'.")
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == 'cuda' and (device.index or 0) >= number:
        raise ValueError(f'{owner}: device is {name!r}, but torch sees '
                         f'{number} GPU{"s" * (number != 1)} here: choose '
                         "'auto' or 'cpu'.")


def device_of(name: str) -> torch.device:
    """The device of a name; of 'auto' the GPU of the process where there is
    one."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    return torch.device(name)


class RowsOnDevice:
    """Many rows of numbers, kept on a GPU as far as they fit into its memory.

    The others are made again whenever they are asked for; all of them on a
    CPU, where whoever makes them has them.

    Args:
        make (callable): From the numbers of the first row and of the one
            after the last to float64 [M, W].
        number (int): N, how many rows.
        width (int): W.
        device (torch.device): Where.
    """

    def __init__(self, make: Callable[[int, int], np.ndarray], number: int,
                 width: int, device: torch.device) -> None:
        self._make = make
        self._number = number
        self._step = block_rows(width)
        self._device = device
        kept = min(number, _free_bytes(device) // (8 * max(1, width)))
        self._kept = torch.empty(kept, width, dtype=torch.float64,
                                 device=device)
        for start, rows in self._made(0, kept):
            self._kept[start:start + len(rows)] = rows

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """Numbers of first rows, and rows from there on."""
        step = max(1, _AT_ONCE // max(1, self._kept.shape[1]))
        for start in range(0, len(self._kept), step):
            yield start, self._kept[start:start + step]
        yield from self._made(len(self._kept), self._number)

    def _made(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        for first in range(start, stop, self._step):
            rows = self._make(first, min(first + self._step, stop))
            yield first, torch.from_numpy(rows).to(self._device)


def _free_bytes(device: torch.device) -> int:
    if device.type == 'cpu':
        return 0
    # what torch holds but nobody uses is free as well
    held = torch.cuda.memory_reserved(device) - \
        torch.cuda.memory_allocated(device)
    return max(0, torch.cuda.mem_get_info(device)[0] + held - _RESERVED_BYTES)

"""The tables of an A/B test of two selections."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tables import number
from .uncertainty_tables import PlainTable

if TYPE_CHECKING:
    from mmal.evaluation import Spread


@dataclass(frozen=True)
class ABRow:
    """One line: all classes together, or one.

    Args:
        name (str): What it is of.
        reference (Spread): AP of the reference model, in [0, 1].
        changes (tuple[Spread, Spread]): Relative changes by A and B in
            percent.
    """
    name: str
    reference: Spread
    changes: tuple[Spread, Spread]


def ab_table(rows: Sequence[ABRow], names: Sequence[str],
             title: str) -> PlainTable:
    """Table V of Haussmann et al.: changes of AP in percent.

    Args:
        rows (sequence[ABRow]): One a line.
        names (sequence[str]): What to call A and B.
        title (str): What it shows.

    Returns:
        PlainTable: Each mean is followed by its deviation.
    """
    first, second = names
    header = ('', 'reference', first, '±', second, '±')
    lines = []
    for row in rows:
        cells = [row.name, number(row.reference.mean, 4)]
        for change in row.changes:
            signed = '–' if change.mean is None else f'{change.mean:+,.2f}'
            cells += [signed, number(change.std, 2)]
        lines.append(tuple(cells))
    return PlainTable(title, header, tuple(lines))


def selection_table(sizes: Sequence[tuple[int, int]],
                    names: Sequence[str]) -> PlainTable:
    """What is compared: equally many images, but seldom boxes.

    Args:
        sizes (sequence[tuple[int, int]]): Images and boxes of A and B.
        names (sequence[str]): What to call A and B.
    """
    return PlainTable(
        'the selections', ('', 'images', 'boxes'),
        tuple((name, f'{images:,}', f'{boxes:,}')
              for name, (images, boxes) in zip(names, sizes)))

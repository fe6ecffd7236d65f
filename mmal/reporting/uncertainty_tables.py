"""Tables of what uncertainties choose and how they change."""
from __future__ import annotations

import csv
import io
import math
import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmal.fileio import write_text
from .tables import amount, render

if TYPE_CHECKING:
    from mmal.evaluation import Shift


@dataclass(frozen=True)
class PlainTable:
    """A small table as text, markdown or csv.

    Args:
        title (str): What it shows.
        header (tuple[str]): C names.
        rows (tuple[tuple[str]]): C cells each.
    """
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """For a terminal."""
        return render(self.header, self.rows, self.title)

    def markdown(self) -> str:
        """The title in bold, an empty line, and a table."""
        ruler = (' --- ', ) + (' ---: ', ) * (len(self.header) - 1)
        lines = [_row(self.header), f'|{"|".join(ruler)}|',
                 *map(_row, self.rows)]
        return f'**{self.title}**\n\n' + '\n'.join(lines) + '\n'

    def csv(self) -> str:
        """Header and rows, comma separated."""
        return csv_text([self.header, *self.rows])


def csv_text(rows: Sequence[Sequence]) -> str:
    """Rows of cells, comma separated; None is an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows(rows)
    return out.getvalue()


def save_tables(tables: Sequence[PlainTable], path: str) -> None:
    """Write tables into one file, atomically.

    Args:
        tables (sequence[PlainTable]): One or more.
        path (str): Ends with ``.md`` or ``.csv``.

    Raises:
        ValueError: If it ends with something else.
    """
    kind = table_format(path)
    parts = [t.csv() if kind == 'csv' else t.markdown() for t in tables]
    write_text(path, '\n'.join(parts))


def table_format(path: str) -> str:
    """'csv' or 'md', as a file is named.

    Raises:
        ValueError: If it ends with something else.
    """
    kind = osp.splitext(path)[1].lstrip('.')
    if kind not in ('csv', 'md'):
        raise ValueError(f'cannot write a table to {path}: give a name that '
                         'ends with .csv or .md.')
    return kind


def overlap_table(names: Sequence[str], matrix: np.ndarray,
                  title: str) -> PlainTable:
    """Table 6 of MDN: percent of the images two uncertainties both choose.

    Args:
        names (sequence[str]): U uncertainties.
        matrix (np.ndarray): [U, U] in [0, 100].
        title (str): What it shows.
    """
    rows = [(_spoken(name), *(f'{v:.0f}' for v in row))
            for name, row in zip(names, matrix)]
    return PlainTable(title, ('', *map(_spoken, names)), tuple(rows))


def shift_table(names: Sequence[str], shift: Shift, labels: tuple[str, str],
                title: str) -> PlainTable:
    """Table 7 of MDN: mean uncertainties of common detections.

    Args:
        names (sequence[str]): U uncertainties.
        shift (Shift): Means of both sets.
        labels (tuple[str, str]): What to call the sets.
        title (str): What it shows.
    """
    rows = []
    for label, total, means in zip(labels, shift.totals,
                                   (shift.first, shift.second)):
        shown = [f'{m:.2e}' if math.isfinite(m) else '–' for m in means]
        rows.append((label, f'{total:,}', *shown))
    # nothing in common gives NaN, which is not above 0 either
    changes = [f'{100 * (after / before - 1):+.0f}%' if before > 0 else '–'
               for before, after in zip(shift.first, shift.second)]
    rows.append(('change', '', *changes))
    common = amount(shift.common, 'detection')
    return PlainTable(f'{title}: means over {common} in common',
                      ('', 'detections', *map(_spoken, names)), tuple(rows))


def _row(cells: Sequence[str]) -> str:
    # what ends a cell or a row of markdown may stand in a name or an error
    return '| ' + ' | '.join(
        ' '.join(cell.replace('|', r'\|').splitlines()) for cell in cells
    ) + ' |'


def _spoken(name: str) -> str:
    return name.replace('_', ' ')

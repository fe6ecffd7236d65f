"""A table that is rounded for readers and exact in a csv file."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, Union

from .tables import number
from .uncertainty_tables import PlainTable, csv_text

Value = Union[str, int, float, None]


@dataclass(frozen=True)
class NumberTable(PlainTable):
    """A :class:`PlainTable` that keeps its numbers.

    Args:
        values (tuple[tuple[str | int | float | None]]): What the rows show.
    """
    values: tuple[tuple[Value, ...], ...] = ()

    @classmethod
    def make(cls, title: str, columns: dict[str, int],
             values: Sequence[Sequence[Value]]) -> NumberTable:
        """Round numbers for the rows.

        Args:
            title (str): What it shows.
            columns (dict[str, int]): Name -> decimals of its numbers; C.
            values (sequence[sequence]): C each. Text is shown as it is, None
                as a dash.
        """
        rows = [tuple(map(_cell, row, columns.values())) for row in values]
        return cls(title, tuple(columns), tuple(rows),
                   tuple(map(tuple, values)))

    def csv(self) -> str:
        """Header and values with 10 digits; None is an empty cell."""
        return csv_text([self.header, *(map(_exact, v) for v in self.values)])


def _cell(value: Value, digits: int) -> str:
    return value if isinstance(value, str) else number(value, digits)


def _exact(value: Value) -> Optional[str]:
    return f'{value:.10g}' if isinstance(value, float) else value

"""A table that is rounded for readers and exact in a csv file."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

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
        rows = tuple(
            tuple(value if isinstance(value, str) else number(value, digits)
                  for value, digits in zip(row, columns.values()))
            for row in values)
        return cls(title, tuple(columns), rows, tuple(map(tuple, values)))

    def csv(self) -> str:
        """Header and values with 10 digits; None is an empty cell."""
        rows = [[f'{v:.10g}' if isinstance(v, float) else v for v in row]
                for row in self.values]
        return csv_text([self.header, *rows])

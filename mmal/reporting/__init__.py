"""Curves, tables, pictures and the report of a run."""
from .curve import Curve, Record
from .plots import draw_curves, plot_curves
from .report import write_report
from .tables import comparison_table, round_table
from .uncertainty_tables import (
    PlainTable,
    overlap_table,
    save_tables,
    shift_table,
)

__all__ = [
    'Curve', 'PlainTable', 'Record', 'comparison_table', 'draw_curves',
    'overlap_table', 'plot_curves', 'round_table', 'save_tables',
    'shift_table', 'write_report'
]

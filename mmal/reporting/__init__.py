"""Curves, tables, pictures and the report of a run."""
from .ab_tables import ABRow, ab_table, selection_table
from .curve import Curve, Record
from .plots import draw_curves, plot_curves
from .reliability import (
    calibration_table,
    draw_reliability,
    plot_reliability,
)
from .report import write_report
from .tables import comparison_table, round_table
from .uncertainty_tables import (
    PlainTable,
    overlap_table,
    save_tables,
    shift_table,
    table_format,
)

__all__ = [
    'ABRow', 'Curve', 'PlainTable', 'Record', 'ab_table',
    'calibration_table', 'comparison_table', 'draw_curves',
    'draw_reliability', 'overlap_table', 'plot_curves', 'plot_reliability',
    'round_table', 'save_tables', 'selection_table', 'shift_table',
    'table_format', 'write_report'
]

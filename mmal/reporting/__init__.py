"""Curves, tables, pictures and the report of a run."""
from .curve import Curve, Record
from .plots import draw_curves, plot_curves
from .report import write_report
from .tables import comparison_table, round_table

__all__ = [
    'Curve', 'Record', 'comparison_table', 'draw_curves', 'plot_curves',
    'round_table', 'write_report'
]

"""Curves, tables, pictures and the report of a run."""
from .ab_tables import ABRow, ab_table, selection_table
from .curve import Curve, Record
from .merged import (
    MergedCurve,
    MergedRound,
    Run,
    common_span,
    merged_saving,
    seed_difference,
    seed_savings,
)
from .merged_report import (
    draw_merged,
    merged_tables,
    methods_table,
    paired_table,
    rounds_table,
    runs_table,
    savings_table,
    write_merged,
)
from .number_table import NumberTable
from .plots import draw_curves, plot_curves
from .reliability import (
    calibration_tables,
    draw_reliability,
    plot_reliability,
)
from .report import Comparison, write_report
from .selected_boxes import (
    draw_selected_boxes,
    plot_selected_boxes,
    selected_boxes_table,
    shared_images_table,
)
from .tables import comparison_table, drawn_at_random, duration, round_table
from .uncertainty_tables import (
    PlainTable,
    overlap_table,
    save_tables,
    shift_table,
    table_format,
)

__all__ = [
    'ABRow', 'Comparison', 'Curve', 'MergedCurve', 'MergedRound',
    'NumberTable', 'PlainTable', 'Record', 'Run', 'ab_table',
    'calibration_tables', 'common_span', 'comparison_table', 'draw_curves',
    'draw_merged', 'draw_reliability', 'draw_selected_boxes',
    'drawn_at_random', 'duration', 'merged_saving', 'merged_tables',
    'methods_table', 'overlap_table', 'paired_table', 'plot_curves',
    'plot_reliability', 'plot_selected_boxes', 'round_table', 'rounds_table',
    'runs_table', 'save_tables', 'savings_table', 'seed_difference',
    'seed_savings', 'selected_boxes_table', 'selection_table',
    'shared_images_table', 'shift_table', 'table_format', 'write_merged',
    'write_report'
]

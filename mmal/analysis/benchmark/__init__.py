"""Tasks x methods x seeds: the runs of a table, and what they bring."""
from .cell import BenchmarkDir, Cell
from .dry_run import plan
from .processes import run_cells, start_training
from .results import (
    Outcome,
    cells_table,
    classes_table,
    outcomes,
    short_table,
    summary_table,
    write_page,
)
from .table import BenchmarkTable

__all__ = [
    'BenchmarkDir', 'BenchmarkTable', 'Cell', 'Outcome', 'cells_table',
    'classes_table', 'outcomes', 'plan', 'run_cells', 'short_table',
    'start_training', 'summary_table', 'write_page'
]

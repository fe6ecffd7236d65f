"""Learning curves as text tables."""
import io
from typing import Dict, List, Optional, Sequence, Tuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .curve import Curve, Record

_COSTS = ('round', 'images', 'boxes')
_TIMES = ('train', 'query')
_EFFICIENCY = '10k·AP/boxes'


def round_rows(curve: Curve) -> Tuple[List[str], List[List[str]]]:
    """Header and rows of the rounds; where labelled images may be taken
    again, with a column of how many were."""
    names = curve.shown
    efficiency = 'AP' in names
    header = [
        *_COSTS, *names, *([_EFFICIENCY] if efficiency else []), *_TIMES
    ]
    rows = [_round_row(r, names, efficiency) for r in curve.records]
    if any(r.repeated is not None for r in curve.records):
        header.insert(2, 'repeated')
        for record, row in zip(curve.records, rows):
            row.insert(2, number(record.repeated, 0))
    return header, rows


def _round_row(record: Record, names: Sequence[str],
               efficiency: bool) -> List[str]:
    """One record as text."""
    return [
        str(record.round), f'{record.images:,}', f'{record.boxes:,}',
        *(number(record.value(name), 3) for name in names),
        *([number(record.efficiency, 4)] if efficiency else []),
        duration(record.train_seconds),
        duration(record.query_seconds)
    ]


def round_table(curve: Curve, title: Optional[str] = None) -> str:
    """The table shown after each round.

    Args:
        curve (Curve): The rounds so far.
        title (str, optional): A line above the table.

    Returns:
        str: Lines of text, at most 100 columns, without colour.

    Examples:
        >>> record = Record(0, 40, 123, {'coco/bbox_mAP': 0.05})
        >>> print(round_table(Curve([record])).splitlines()[2].split())
        ['0', '40', '123', '0.050', '–', '–', '4.0650', '–', '–']
    """
    return render(*round_rows(curve), title)


def comparison_table(curves: Dict[str, Curve],
                     target: Optional[float] = None) -> str:
    """Several runs side by side.

    The areas are taken over the boxes that all runs cover, so that a run does
    not win by having stopped elsewhere.

    Args:
        curves (dict[str, Curve]): Name -> curve.
        target (float, optional): AP for the column "boxes to reach it".
            Default: the lowest of the best APs of the runs.

    Returns:
        str: Lines of text.
    """
    spans = [c.series('boxes')[0] for c in curves.values()]
    low = max((s[0] for s in spans if s), default=0)
    high = min((s[-1] for s in spans if s), default=0)
    if target is None:
        best = [max(c.series()[1]) for c in curves.values() if c.series()[1]]
        target = min(best, default=0.0)
    header = ('run', 'rounds', 'images', 'boxes', 'AP', 'AP50',
              f'mean AP, {low:,}–{high:,} boxes', f'boxes to AP {target:.3f}')
    rows = []
    for name, curve in curves.items():
        last = curve.records[-1] if len(curve) else Record(0, 0, 0)
        area = curve.area(low=low, high=high) if low <= high else None
        rows.append([
            name,
            str(len(curve)), f'{last.images:,}', f'{last.boxes:,}',
            number(last.value('AP'), 3),
            number(last.value('AP50'), 3),
            number(area, 4),
            number(curve.boxes_needed(target), 0)
        ])
    return render(header, rows)


def number(value: Optional[float], digits: int) -> str:
    """A number with so many digits; a dash for None."""
    return '–' if value is None else f'{value:,.{digits}f}'


def amount(value: Optional[float], noun: str) -> str:
    """A count with its noun: ``1 box``, ``2,000 images``, ``– boxes``."""
    plural = f'{noun}es' if noun.endswith('x') else f'{noun}s'
    return f'{number(value, 0)} {noun if value == 1 else plural}'


def duration(seconds: Optional[float]) -> str:
    """Seconds as ``42 s``, ``3:07`` or ``1:02:03``; a dash for None."""
    if seconds is None:
        return '–'
    if seconds < 60:
        return f'{seconds:.0f} s' if seconds >= 9.95 else f'{seconds:.1f} s'
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f'{hours}:{minute:02d}:{second:02d}'
    return f'{minute}:{second:02d}'


def render(header: Sequence[str],
           rows: Sequence[Sequence[str]],
           title: Optional[str] = None) -> str:
    """A table as text, at most 100 columns wide, without colour.

    Numbers stand right; what is no number of a round stands left in the first
    column.

    Args:
        header (sequence[str]): C names.
        rows (sequence[sequence[str]]): C cells each.
        title (str, optional): A line above the table.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, name in enumerate(header):
        left = i == 0 and name != 'round'
        table.add_column(
            name, justify='left' if left else 'right', no_wrap=left)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(
        file=io.StringIO(), width=100, color_system=None, force_terminal=False)
    console.print(table)
    lines = [x.rstrip() for x in console.file.getvalue().splitlines()]
    return '\n'.join(([title] if title else []) + lines).rstrip()

"""Learning curves as text tables."""
from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Optional

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .curve import Curve, Record


def round_rows(curve: Curve) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the rounds, as text.

    Returns:
        tuple[list[str], list[list[str]]]: C names, and C cells of each round.
        Where images can be reselected a column says how many were; where
        rounds know them, another one the hours of labelling; where the
        metric is AP another one has the efficiency; and where some were
        chosen at random a last one has the share chosen by score.
    """
    at_random = bool(drawn_at_random(curve))
    reselects = any(r.reselected is not None for r in curve.records)
    has_hours = any(r.hours is not None for r in curve.records)
    header = ['round', 'images', *(['reselected'] if reselects else []),
              'boxes', *(['hours'] if has_hours else []), *curve.shown,
              *(['10k·AP/boxes'] if 'AP' in curve.shown else []), 'train',
              'query', *(['by score'] if at_random else [])]
    rows = []
    for record in curve.records:
        row = [str(record.round), f'{record.images:,}']
        if reselects:
            row.append(number(record.reselected, 0))
        row.append(f'{record.boxes:,}')
        if has_hours:
            row.append(number(record.hours, 2))
        row += [number(record.value(name), 3) for name in curve.shown]
        if 'AP' in curve.shown:
            row.append(number(record.efficiency, 4))
        row += [duration(record.train_seconds), duration(record.query_seconds)]
        if at_random:
            row.append('–' if record.by_score is None else
                       f'{record.by_score:.0%}')
        rows.append(row)
    return header, rows


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


def drawn_at_random(curve: Curve) -> str:
    """A sentence on the images that no score chose; '' without any.

    Examples:
        >>> first = Record(0, 40, 123, by_score=0.0)
        >>> drawn_at_random(Curve([first, Record(1, 60, 180)]))
        'No query chose an image by its score, all were drawn at random: \
nothing was detected.'
    """
    shares = [r.by_score for r in curve.records if r.by_score is not None]
    partly = [share for share in shares if share < 1]
    if not partly:
        return ''
    if not any(shares):
        return ('No query chose an image by its score, all were drawn at '
                'random: nothing was detected.')
    return (f'{len(partly):,} of {len(shares):,} queries drew images at '
            'random, in which nothing was detected.')


def comparison_table(curves: Mapping[str, Curve],
                     target: Optional[float] = None,
                     by: str = 'boxes') -> str:
    """Several runs side by side.

    The areas are taken over the costs that all runs cover, so that a run does
    not win by having stopped elsewhere.

    Args:
        curves (dict[str, Curve]): Name -> curve.
        target (float, optional): AP for the column "boxes to reach it".
            Default: the lowest of the best APs of the runs.
        by (str): What costs are counted in: 'boxes', 'images' or 'hours'.

    Returns:
        str: Lines of text.
    """
    # a run that stopped at other boxes must not gain or lose by it
    digits = 2 if by == 'hours' else 0
    spans = [c.series(by)[0] for c in curves.values()]
    low = max((s[0] for s in spans if s), default=0)
    high = min((s[-1] for s in spans if s), default=0)
    if target is None:
        best = [max(c.series()[1]) for c in curves.values() if c.series()[1]]
        target = min(best, default=0.0)
    header = ('run', 'rounds', 'images', 'boxes', 'AP', 'AP50',
              f'mean AP, {number(low, digits)}–{number(high, digits)} {by}',
              f'{by} to AP {target:.3f}')
    rows = []
    for name, curve in curves.items():
        last = curve.records[-1] if len(curve) else Record(0, 0, 0)
        area = curve.area(by, low=low, high=high) if low <= high else None
        rows.append([
            name,
            str(len(curve)), f'{last.images:,}', f'{last.boxes:,}',
            number(last.value('AP'), 3),
            number(last.value('AP50'), 3),
            number(area, 4),
            number(curve.cost_to_reach(target, by), digits)
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
        # from 9.95 on a decimal would round to 10.0, and matters little
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
        # names of runs and classes, which are not to be broken
        left = i == 0 and name != 'round'
        table.add_column(
            name, justify='left' if left else 'right', no_wrap=left)
    for row in rows:
        table.add_row(*map(Text, row))  # plain: rich reads [x] as a style
    # the same text in a terminal, in a log and in a file
    console = Console(
        file=io.StringIO(), width=100, color_system=None, force_terminal=False)
    console.print(table)
    lines = [x.rstrip() for x in console.file.getvalue().splitlines()]
    return '\n'.join(([title] if title else []) + lines).rstrip()

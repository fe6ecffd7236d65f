"""Calibration of one or several detectors as a table and as a picture."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from mmal.evaluation.calibration import (
    LEVELS,
    interval_coverage,
    reliability,
)
from mmal.evaluation.calibration_data import CalibrationData
from mmal.fileio import write_bytes
from .plots import COLOURS, new_figure, png_of
from .uncertainty_tables import PlainTable

_TITLE = ('Calibration: ECE of scores ({} bins) and their excess over the '
          'share matched;\nNLL, coverage, std and RMSE of the boxes matched, '
          'in pixels')
_NOMINAL = np.linspace(0.02, 0.98, 49)


def calibration_table(models: Mapping[str, CalibrationData],
                      bins: int = 15,
                      levels: Sequence[float] = LEVELS) -> PlainTable:
    """The numbers of :class:`mmal.evaluation.CalibrationMetric`, a row each.

    Args:
        models (Mapping[str, CalibrationData]): By name.
        bins (int): Of the expected calibration error.
        levels (sequence[float]): Nominal coverages of box intervals.
    """
    columns = {
        'detections': ('detections', ',.0f'),
        'matched': ('matched', ',.0f'),
        'ece': ('ECE', '.3f'),
        'overconfidence': ('excess', '+.3f'),
        'box_nll': ('NLL', '.3f'),
        **{f'coverage_{100 * level:g}': (f'{100 * level:g}%', '.3f')
           for level in levels},
        'box_std': ('std', '.2f'),
        'box_rmse': ('RMSE', '.2f')
    }
    rows = []
    for name, data in models.items():
        summary = data.summary(bins, levels)
        # a detector without detections or box intervals lacks some of them
        values = [summary.get(key, math.nan) for key in columns]
        rows.append((name, *(
            format(value, spec) if math.isfinite(value) else '–'
            for value, (_, spec) in zip(values, columns.values()))))
    header = ('', *(short for short, _ in columns.values()))
    return PlainTable(_TITLE.format(bins), header, tuple(rows))


def draw_reliability(models: Mapping[str, CalibrationData],
                     bins: int = 15) -> bytes:
    """Reliability diagrams, counts and coverage of detectors, as PNG.

    Left, the share of detections that found an object against their mean
    score, of each bin that has any, and below how many there are. Right, if
    a detector has box intervals, their coverage against the nominal one, and
    below the predicted standard deviations. On the diagonal a detector is
    calibrated; below it, too sure of itself.

    Args:
        models (Mapping[str, CalibrationData]): By name.
        bins (int): Of equal width.

    Returns:
        bytes: A PNG of 1350 x 900 pixels, 690 wide without box intervals.
    """
    # a plain detector may stand beside one that knows its boxes
    boxes = any(data.has_boxes for data in models.values())
    figure = new_figure(9 if boxes else 4.6, 6)
    panels = figure.subplots(
        2, 1 + boxes, height_ratios=(3, 1), squeeze=False)
    _draw_classes(*panels[:, 0], models, bins)
    if boxes:
        known = {name: d for name, d in models.items() if d.has_boxes}
        colours = dict(zip(models, cycle(COLOURS)))
        _draw_coverage(panels[0, 1], known, colours)
        _draw_stds(panels[1, 1], known, colours)
    return png_of(figure)


def plot_reliability(models: Mapping[str, CalibrationData],
                     path: str,
                     bins: int = 15) -> str:
    """Write :func:`draw_reliability` to ``path`` atomically; returns it."""
    write_bytes(path, draw_reliability(models, bins))
    return path


def _draw_classes(score, counts, models: Mapping[str, CalibrationData],
                  bins: int) -> None:
    """Left: accuracy against score above, numbers of detections below."""
    for colour, (name, data) in zip(cycle(COLOURS), models.items()):
        by_bin = reliability(data.confidences, data.correct, bins)
        filled = by_bin.counts > 0
        score.plot(
            by_bin.confidence[filled],
            by_bin.accuracy[filled],
            color=colour,
            marker='o',
            markersize=4,
            clip_on=False,
            label=f'{name} (ECE {by_bin.error:.3f})'.strip())
        counts.stairs(by_bin.counts, by_bin.edges, color=colour)
    _diagonal(score)
    score.set_ylabel('share that found an object')
    score.set_xlabel('mean score')
    counts.set_xlim(0, 1)
    counts.set_yscale('symlog', linthresh=1)  # empty bins are 0
    counts.set_ylim(bottom=0)
    counts.set_xlabel('score')
    counts.set_ylabel('detections')
    _plain(counts)


def _draw_coverage(panel, models: Mapping[str, CalibrationData],
                   colours: Mapping[str, str]) -> None:
    """Right, above: coverage of box intervals, dots at the usual levels."""
    for name, data in models.items():
        for levels, style, label in ((_NOMINAL, '-', name), (LEVELS, 'o', '')):
            panel.plot(
                levels,
                interval_coverage(data.errors, data.stds, levels),
                style,
                color=colours[name],
                markersize=4,
                label=label)
    _diagonal(panel)
    panel.set_xlabel('nominal coverage of box intervals')
    panel.set_ylabel('coordinates inside')


def _draw_stds(panel, models: Mapping[str, CalibrationData],
               colours: Mapping[str, str]) -> None:
    """Right, below: how many coordinates have which predicted deviation."""
    from matplotlib.ticker import (
        LogLocator,
        NullFormatter,
        StrMethodFormatter,
    )
    # on a logarithmic axis: deviations of good and bad boxes differ 1000-fold
    stds = {name: np.log10(data.stds.clip(1e-3))
            for name, data in models.items()}
    span = [f(list(map(f, stds.values()))) for f in (np.min, np.max)]
    for name, values in stds.items():
        counts, edges = np.histogram(values, 40, span)
        panel.stairs(counts, 10**edges, color=colours[name])
    panel.set_xscale('log')
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel('predicted standard deviation, pixels')
    panel.set_ylabel('coordinates')
    _plain(panel)


def _diagonal(panel) -> None:
    """A square panel on whose diagonal a detector is calibrated."""
    panel.plot((0, 1), (0, 1), '--', color='0.6', zorder=0)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    panel.legend(frameon=False, fontsize='small', loc='best')
    _plain(panel)


def _plain(panel) -> None:
    """A grid, and no frame above and on the right."""
    panel.grid(alpha=0.25)
    panel.spines[['top', 'right']].set_visible(False)

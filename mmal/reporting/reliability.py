"""Calibration of one or several detectors as a table and as a picture."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
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

_NOMINAL = np.linspace(0.02, 0.98, 49)


# columns of the tables: what a summary calls them, their headers and formats
_SCORES = {
    'detections': ('detections', ',.0f'),
    'matched': ('matched', ',.0f'),
    'ece': ('ECE', '.3f'),
    'overconfidence': ('excess', '+.3f'),
    'd_ece_position': ('by position', '.3f'),
    'd_ece_size': ('by size', '.3f'),
    'laece': ('LaECE', '.3f'),
    'laace': ('LaACE', '.3f')
}
_QUALITY = {
    'olrp': ('oLRP', '.3f'),
    'olrp_loc': ('1 - IoU', '.3f'),
    'olrp_fp': ('1 - precision', '.3f'),
    'olrp_fn': ('1 - recall', '.3f'),
    'pdq': ('PDQ', '.3f'),
    'pdq_spatial': ('spatial', '.3f'),
    'pdq_label': ('label', '.3f')
}


def calibration_tables(models: Mapping[str, CalibrationData],
                       bins: int = 15,
                       levels: Sequence[float] = LEVELS,
                       iou_thr: float = 0.5) -> list[PlainTable]:
    """The numbers of :class:`mmal.evaluation.CalibrationMetric`.

    Args:
        models (Mapping[str, CalibrationData]): By name.
        bins (int): Of the expected calibration error.
        levels (sequence[float]): Nominal coverages of box intervals.
        iou_thr (float): Of the matching.

    Returns:
        list[PlainTable]: Calibration of scores, quality, and, if a detector
        tells how sure it is of boxes, their calibration, with a row for the
        Gaussian and, if it is known, one for the mixture. A column that no
        detector has is left out.
    """
    summaries = {name: data.summary(bins, levels, iou_thr)
                 for name, data in models.items()}
    tables = [
        _table(
            f'Calibration of scores: ECE ({bins} bins), their excess over the '
            'share matched,\nECE by where boxes are and by how large they '
            'are, LaECE and LaACE', _SCORES, summaries),
        _table('Quality: optimal LRP and its parts, PDQ and its factors',
               _QUALITY, summaries)
    ]
    if any(data.has_boxes for data in models.values()):
        coverage = {f'coverage_{100 * level:g}': (f'{100 * level:g}%', '.3f')
                    for level in levels}
        boxes = {}
        for name, summary in summaries.items():
            boxes[name] = summary
            if models[name].has_mixtures:
                # the same columns, of the other distribution
                boxes[f'{name}, mixture'] = {
                    key.replace('mixture_coverage', 'coverage').replace(
                        'mixture_', 'box_'): value
                    for key, value in summary.items()
                    if key.startswith('mixture_')
                }
        tables.append(
            _table(
                'Calibration of the boxes matched: NLL, CRPS, coverage, std '
                'and RMSE, in pixels', {
                    'box_nll': ('NLL', '.3f'),
                    'box_crps': ('CRPS', '.3f'),
                    **coverage,
                    'box_std': ('std', '.2f'),
                    'box_rmse': ('RMSE', '.2f')
                }, boxes))
    return tables


def _table(title: str, columns: Mapping[str, tuple[str, str]],
           rows: Mapping[str, Mapping[str, float]]) -> PlainTable:
    """A row of each summary; a dash where it lacks the number."""
    known = {key: column for key, column in columns.items()
             if any(key in summary for summary in rows.values())}
    cells = [(name, *(format(summary[key], spec) if key in summary else '–'
                      for key, (_, spec) in known.items()))
             for name, summary in rows.items()]
    return PlainTable(title, ('', *(short for short, _ in known.values())),
                      tuple(cells))


def draw_reliability(models: Mapping[str, CalibrationData],
                     bins: int = 15) -> bytes:
    """Reliability diagrams, counts and coverage of detectors, as PNG.

    Left, the share of detections that found an object against their mean
    score, of each bin that has any, and below how many there are. Right, if
    a detector has box intervals, their coverage against the nominal one,
    dashed if they are those of mixtures, and below the predicted standard
    deviations. On the diagonal a detector is calibrated; below it, too sure
    of itself.

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
        curves = [('-', name,
                   partial(interval_coverage, data.errors, data.stds))]
        if data.has_mixtures:
            curves.append(('--', f'{name}, mixture'.strip(' ,'),
                           data.mixtures.coverage))
        for style, label, coverage in curves:
            panel.plot(_NOMINAL, coverage(_NOMINAL), style,
                       color=colours[name], label=label)
            panel.plot(LEVELS, coverage(LEVELS), 'o', color=colours[name],
                       markersize=4)
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

"""Calibration after training as tables and as a picture."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from mmal.evaluation.calibration import reliability
from mmal.fileio import write_bytes
from .plots import COLOURS, new_figure, png_of
from .uncertainty_tables import PlainTable

_SCORES = dict(laece='LaECE', laace='LaACE', d_ece='D-ECE', ap='AP')
_CURVES = dict(pixels='margins in pixels',
               scaled='margins scaled by the predicted std',
               predicted='predicted Gaussians')
_TARGETS = dict(iou='mean IoU with the object found',
                found='share that found an object')
_BINS = 10


def score_table(splits: Sequence[Mapping], images: int) -> PlainTable:
    """Scores before and after calibration, a row for each method.

    Args:
        splits (sequence[mapping]): For each split of the images, method ->
            an object with ``laece``, ``laace``, ``d_ece`` and ``ap``.
        images (int): How many measure in one split.
    """
    rows = []
    for method in splits[0]:
        values = [[getattr(split[method], key) for split in splits]
                  for key in _SCORES]
        rows.append((method, *(_spread(v, '.4f') for v in values)))
    return PlainTable(
        f'Scores of {images} images held out' + _over(splits),
        ('method', *_SCORES.values()), tuple(rows))


def box_table(splits: Sequence[Mapping], level: float) -> PlainTable:
    """Margins of boxes, a row for each kind and class.

    Args:
        splits (sequence[mapping]): For each split of the images, kind ->
            class or 'all' -> an object with ``fitted``, ``measured``,
            ``coverage``, ``width`` and ``band``.
        level (float): The nominal coverage.
    """
    rows = []
    for kind, parts in splits[0].items():
        for name in parts:
            qualities = [split[kind][name] for split in splits]
            low, high = (_spread([q.band[end] for q in qualities][:1], '.3f')
                         for end in (0, 1))
            rows.append((
                kind, name,
                *(f'{np.mean([getattr(q, key) for q in qualities]):.0f}'
                  for key in ('fitted', 'measured')),
                _spread([q.coverage for q in qualities], '.3f'),
                f'{low}–{high}' if low != '–' else '–',
                _spread([q.width for q in qualities], '.1f')))
    return PlainTable(
        f'Boxes of detections held out that found an object, level {level:g}'
        + _over(splits),
        ('margins', 'class', 'fitted', 'measured', 'coverage', '95% band',
         'width'), tuple(rows))


def draw_posthoc(scores: Mapping[str, np.ndarray], targets: np.ndarray,
                 levels: Sequence[float],
                 coverage: Mapping[str, Sequence[float]],
                 bands: Sequence[tuple[float, float]],
                 target: str = 'iou') -> bytes:
    """Reliability of scores and coverage of boxes, as PNG.

    Left, the mean target of detections against their mean score, bin by bin,
    and below how many there are; right, the coverage of boxes against the
    level that was asked for, with the band that holds it with 95% were
    detections exchangeable, and below how far it is off.

    Args:
        scores (mapping[str, np.ndarray]): Name -> [n] in [0, 1].
        targets (np.ndarray): [n] in [0, 1].
        levels (sequence[float]): L nominal coverages.
        coverage (mapping[str, sequence[float]]): 'pixels', 'scaled' or
            'predicted' -> [L].
        bands (sequence[tuple[float, float]]): L, NaN where not known.
        target (str): 'iou' or 'found'.

    Returns:
        bytes: A PNG of 1350 x 900 pixels.
    """
    figure = new_figure(9, 6)
    panels = figure.subplots(2, 2, height_ratios=(3, 1))
    (reliable, covered), (numbers, excess) = panels
    for colour, (name, values) in zip(cycle(COLOURS), scores.items()):
        by_bin = reliability(values, targets, _BINS)
        filled = by_bin.counts > 0
        reliable.plot(by_bin.confidence[filled], by_bin.accuracy[filled],
                      color=colour, marker='o', markersize=4, clip_on=False,
                      label=name)
        numbers.stairs(by_bin.counts, by_bin.edges, color=colour)
    for colour, (kind, shares) in zip(cycle(COLOURS), coverage.items()):
        covered.plot(levels, shares, color=colour, marker='o', markersize=3,
                     label=_CURVES[kind])
        excess.plot(levels, np.subtract(shares, levels), color=colour)
    low, high = np.reshape(bands, (-1, 2)).T
    covered.fill_between(levels, low, high, color='0.85', zorder=0)
    excess.fill_between(levels, low - levels, high - levels, color='0.85',
                        zorder=0)
    for panel in (reliable, covered):
        panel.plot((0, 1), (0, 1), '--', color='0.6', zorder=0)
        panel.set_ylim(0, 1)
        panel.legend(frameon=False, fontsize='small', loc='best')
    excess.axhline(0, linestyle='--', color='0.6', zorder=0)
    reliable.set_ylabel(_TARGETS[target])
    numbers.set_ylabel('detections')
    numbers.set_xlabel('score')
    numbers.set_yscale('symlog', linthresh=1)  # empty bins are 0
    numbers.set_ylim(bottom=0)
    covered.set_ylabel('coverage of boxes')
    excess.set_ylabel('excess')
    excess.set_xlabel('level')
    for panel in panels.flat:
        panel.set_xlim(0, 1)
        panel.grid(alpha=0.25)
        panel.spines[['top', 'right']].set_visible(False)
    return png_of(figure)


def plot_posthoc(scores: Mapping[str, np.ndarray], targets: np.ndarray,
                 levels: Sequence[float],
                 coverage: Mapping[str, Sequence[float]],
                 bands: Sequence[tuple[float, float]], target: str,
                 path: str) -> str:
    """Write :func:`draw_posthoc` to ``path`` atomically; returns it."""
    write_bytes(path, draw_posthoc(scores, targets, levels, coverage, bands,
                                   target))
    return path


def _over(splits: Sequence) -> str:
    number = len(splits)
    return '' if number == 1 else f';\nmean ± deviation over {number} splits'


def _spread(values: Sequence[float], spec: str) -> str:
    """Mean and, of several, standard deviation of the numbers known."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return '–'
    mean = format(np.mean(known), spec)
    return mean if len(known) == 1 else (
        f'{mean} ± {format(np.std(known, ddof=1), spec)}')

"""The boxes that methods chose, as a table and as a picture."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from mmal.evaluation import SIZES, SelectedBoxes, spread
from mmal.fileio import write_bytes
from .number_table import NumberTable
from .plots import COLOURS, new_figure, png_of

Methods = Mapping[str, Sequence[SelectedBoxes]]

# Shares of an image's area between which the histogram has its bins.
_LEAST_SHARE, _BINS = 1e-4, 25


def selected_boxes_table(methods: Methods, title: str) -> NumberTable:
    """Boxes of an image, their sizes and overlaps, one method a line.

    Args:
        methods (mapping[str, sequence[SelectedBoxes]]): Name -> its runs.
        title (str): What it shows.

    Returns:
        NumberTable: Means over the runs; ± is the sample standard deviation
        of the boxes per image. 'area %' is the median area of a box in
        percent of its image, 'IoU' the mean largest IoU with another box of
        the image.
    """
    columns = {
        'method': 0, 'runs': 0, 'images': 0, 'boxes per image': 2, '±': 2,
        **{f'{size} %': 1 for size in SIZES}, 'area %': 2, 'IoU': 3
    }
    rows = []
    for name, runs in methods.items():
        boxes = spread([run.per_image for run in runs])
        some = [run for run in runs if len(run.areas)]
        sizes = [spread([100 * run.size_shares[i] for run in some]).mean
                 for i in range(len(SIZES))]
        area = spread([100 * float(np.median(run.shares)) for run in some])
        overlap = spread([float(run.overlaps.mean()) for run in some])
        rows.append((name, len(runs), spread([r.images for r in runs]).mean,
                     boxes.mean, boxes.std, *sizes, area.mean, overlap.mean))
    return NumberTable.make(title, columns, rows)


def shared_images_table(names: Sequence[str], matrix: np.ndarray,
                        title: str) -> NumberTable:
    """Percent of the images that each two methods have both chosen.

    Args:
        names (sequence[str]): M methods.
        matrix (np.ndarray): [M, M] in [0, 100]; NaN where nothing is known.
        title (str): What it shows.
    """
    rows = [(name, *(None if np.isnan(v) else float(v) for v in row))
            for name, row in zip(names, matrix)]
    # a method may have the name of the first column
    columns = {' ': 0, **dict.fromkeys(names, 0)}
    return NumberTable.make(title, columns, rows)


def draw_selected_boxes(methods: Methods, shared: Sequence[str],
                        matrix: np.ndarray) -> bytes:
    """Sizes of the boxes and overlap of the selections, as PNG.

    Left, the share of the boxes that are small, medium and large by COCO's
    borders; in the middle, how the boxes' areas are distributed as shares of
    their images; right, which percent of the images two methods share.

    Args:
        methods (mapping[str, sequence[SelectedBoxes]]): Name -> its runs,
            each of which counts the same.
        shared (sequence[str]): M of the names, those of the matrix.
        matrix (np.ndarray): [M, M] in [0, 100]; NaN where nothing is known.

    Returns:
        bytes: A PNG of 1950 x 600 pixels.
    """
    figure = new_figure(13, 4)
    by_size, by_share, overlap = figure.subplots(
        1, 3, width_ratios=(1, 1.1, 1))
    edges = np.geomspace(_LEAST_SHARE, 1, _BINS + 1)
    width = 0.8 / max(1, len(methods))
    for i, (colour, (name, runs)) in enumerate(
            zip(cycle(COLOURS), methods.items())):
        runs = [run for run in runs if len(run.areas)]
        if not runs:
            continue
        shares = 100 * np.mean([run.size_shares for run in runs], 0)
        offset = (i - (len(methods) - 1) / 2) * width
        again = i >= len(COLOURS)  # hatches and dashes tell them apart
        by_size.bar(np.arange(len(SIZES)) + offset, shares, width,
                    color=colour, label=name, edgecolor='white', linewidth=0,
                    hatch='///' if again else None)
        # what is smaller or, past its image, larger belongs to the last bins
        counts = np.mean([
            np.histogram(run.shares.clip(_LEAST_SHARE, 1), edges)[0] /
            len(run.shares) for run in runs
        ], 0)
        by_share.stairs(100 * counts, edges, color=colour, linewidth=1.5,
                        linestyle='--' if again else '-')
    by_size.set_xticks(range(len(SIZES)), SIZES)
    by_size.set_ylabel('percent of the boxes')
    figure.legend(
        *by_size.get_legend_handles_labels(), loc='outside upper left',
        frameon=False, ncols=6)
    by_share.set_xscale('log')
    # up to a decade left of the smallest box
    smallest = min((run.shares.min() for runs in methods.values()
                    for run in runs if len(run.shares)), default=1)
    by_share.set_xlim(max(_LEAST_SHARE, smallest / 10), 1)
    by_share.set_xlabel("box as a share of the image's area")
    for panel in by_size, by_share:
        panel.grid(alpha=0.25)
        panel.spines[['top', 'right']].set_visible(False)
    _draw_matrix(overlap, shared, matrix)
    return png_of(figure)


def plot_selected_boxes(methods: Methods, shared: Sequence[str],
                        matrix: np.ndarray, path: str) -> str:
    """Write :func:`draw_selected_boxes` to ``path`` atomically; returns it."""
    write_bytes(path, draw_selected_boxes(methods, shared, matrix))
    return path


def _draw_matrix(panel, names: Sequence[str], matrix: np.ndarray) -> None:
    """Percents in a grid, the darker the more."""
    panel.imshow(matrix, cmap='Blues', vmin=0, vmax=100)
    for (y, x), value in np.ndenumerate(matrix):
        panel.text(x, y, '–' if np.isnan(value) else f'{value:.0f}',
                   ha='center', va='center',
                   color='white' if value > 60 else 'black')
    panel.set_xticks(range(len(names)), names, rotation=30, ha='right',
                     fontsize='small')
    panel.set_yticks(range(len(names)), names, fontsize='small')
    panel.set_title('percent of images in common', fontsize='medium')

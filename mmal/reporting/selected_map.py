"""A picture of a pool, with the images that each query chose."""
from __future__ import annotations

import io
import os.path as osp

import numpy as np

from mmal.fileio import write_bytes
from .plots import new_figure, png_of
from .pool_map import PoolMap

FORMATS = ('.png', '.svg')


def draw_selected_map(pool_map: PoolMap, form: str = '.png') -> bytes:
    """Images as points of a plane, in a colour for each query.

    "Influence Selection for Active Learning" (ISAL), figure 5.

    Args:
        pool_map (PoolMap): The images.
        form (str): One of ``FORMATS``.

    Returns:
        bytes: A picture of 7.5 x 5 inches, a PNG with 150 pixels an inch. The
        same map gives the same bytes with the same matplotlib.
    """
    figure = new_figure(7.5, 5)
    panel = figure.subplots()
    rounds = np.array([-1 if n is None else n for n in pool_map.rounds])
    points = pool_map.points.points
    for number, (name, colour) in pool_map.groups.items():
        own = points[rounds == (-1 if number is None else number)]
        # those that were chosen lie above the others
        style = dict(s=7, alpha=0.45, linewidths=0) if number is None else \
            dict(s=20, edgecolors='white', linewidths=0.4)
        if len(own):
            panel.scatter(*own.T, color=colour, label=f'{name} ({len(own):,})',
                          **style)
    for axis, title in zip((panel.xaxis, panel.yaxis), pool_map.points.axes):
        axis.set_label_text(title)
        axis.set_ticks([])
    panel.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', frameon=False, fontsize='small')
    if form == '.png':
        return png_of(figure)
    from matplotlib import rc_context
    content = io.BytesIO()
    with rc_context({'svg.hashsalt': 'mmal'}):  # else its ids are random
        figure.savefig(content, format=form[1:], metadata={'Date': None})
    return content.getvalue()


def plot_selected_map(pool_map: PoolMap, path: str) -> str:
    """Write :func:`draw_selected_map` to ``path`` atomically; returns it."""
    write_bytes(path, draw_selected_map(pool_map, picture_format(path)))
    return path


def picture_format(path: str) -> str:
    """The ending of a picture's name.

    Raises:
        ValueError: If it is not one of ``FORMATS``.
    """
    form = osp.splitext(path)[1].lower()
    if form not in FORMATS:
        raise ValueError(f'{path}: the picture ends in '
                         f'{" or ".join(FORMATS)}.')
    return form

"""Learning curves as pictures."""
from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Union

from mmal.fileio import write_bytes
from .curve import COSTS, Curve

_DASHES = {'AP': '-', 'AP50': '--', 'accuracy': '-'}
# Okabe and Ito's colours: told apart by colour-blind readers too.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9',
           '#000000')


def draw_curves(curves: Union[Curve, Mapping[str, Curve]]) -> bytes:
    """AP and AP50, or accuracy, against images and against boxes, as PNG.

    Args:
        curves (Curve | dict[str, Curve]): One run, or several by name.

    Returns:
        bytes: A PNG of 1350 x 540 pixels; the same curves give the same
        bytes with the same matplotlib.
    """
    if isinstance(curves, Curve):
        curves = {'': curves}
    figure = new_figure(9, 3.6)
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for panel, by in zip(panels, COSTS):
        for i, (name, curve) in enumerate(curves.items()):
            for metric, dashes in _DASHES.items():
                costs, values = curve.series(by, metric)
                if costs:
                    panel.plot(
                        costs,
                        values,
                        dashes,
                        color=COLOURS[i % len(COLOURS)],
                        marker='o',
                        markersize=4,
                        label=f'{name} {metric}'.strip())
        panel.set_ylim(bottom=0)
        finish_panel(panel, by)
    metrics = dict.fromkeys(curve.shown[0] for curve in curves.values())
    panels[0].set_ylabel(', '.join(metrics) or 'AP')
    if panels[0].get_legend_handles_labels()[1]:  # else matplotlib warns
        panels[-1].legend(frameon=False)
    return png_of(figure)


def new_figure(width: float, height: float):
    """A matplotlib figure that no window knows of; inches."""
    # matplotlib takes a second to import and pyplot would look for a screen
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def png_of(figure) -> bytes:
    """A figure as PNG with 150 pixels an inch, without a date."""
    content = io.BytesIO()
    # no version of matplotlib in the file: equal pictures are equal bytes
    figure.savefig(
        content, format='png', dpi=150, metadata={'Software': None})
    return content.getvalue()


def plot_curves(curves: Union[Curve, Mapping[str, Curve]], path: str) -> str:
    """Write :func:`draw_curves` to ``path`` atomically and return it."""
    write_bytes(path, draw_curves(curves))
    return path


def finish_panel(panel, by: str) -> None:
    """Label and grid of a panel with images, boxes or hours to the right."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter
    if by == 'hours':
        panel.set_xlabel('hours of labelling')
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6))
    else:
        panel.set_xlabel(f'labelled {by}')
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        panel.xaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
    panel.grid(alpha=0.25)
    panel.spines[['top', 'right']].set_visible(False)

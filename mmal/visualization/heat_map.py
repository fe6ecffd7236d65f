"""A map of numbers over an image."""
from __future__ import annotations

import io
from collections.abc import Callable
from typing import Optional

import numpy as np

DPI = 100
PANEL = 5.0  # inches, the width of the image in the picture


def draw_heat_map(image: np.ndarray,
                  values: np.ndarray,
                  label: str,
                  vmax: Optional[float] = None,
                  annotate: Optional[Callable] = None) -> bytes:
    """An image, and beside it the same in grey under a coloured map.

    Args:
        image (np.ndarray): uint8 [H, W, 3], RGB.
        values (np.ndarray): [h, w], at least 0; stretched over the image.
        label (str): What the values are, beside the colour bar.
        vmax (float, optional): The value of the brightest colour; the
            largest one when None.
        annotate (callable, optional): Draws more on the image; is called
            with its matplotlib axes, whose units are the image's pixels.

    Returns:
        bytes: A PNG; the same input gives the same bytes with the same
        matplotlib.
    """
    # pyplot would look for a screen and keep the figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    height, width = image.shape[:2]
    size = (2 * PANEL + 1.2, max(PANEL * height / width, 1.5))
    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.imshow(image)
    if annotate is not None:
        annotate(left)
    grey = image.astype(float).mean(-1)
    right.imshow(grey, cmap='gray', vmin=0, vmax=255)
    top = vmax if vmax is not None else float(values.max(initial=0))
    heat = right.imshow(
        values,
        cmap='inferno',
        alpha=0.65,
        vmin=0,
        vmax=top or 1.0,  # a map of zeros is dark
        # the centre of a pixel is at its number: an image ends half a pixel
        # beyond the last one
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation='nearest')
    for panel in (left, right):
        panel.set_axis_off()
    figure.colorbar(heat, ax=right, label=label, fraction=0.046, pad=0.02)
    content = io.BytesIO()
    figure.savefig(
        content, format='png', dpi=DPI, metadata={'Software': None})
    return content.getvalue()

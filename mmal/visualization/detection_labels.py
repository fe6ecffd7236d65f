"""Detections on a matplotlib panel, with labels that can be read."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.structures import InstanceData

from .heat_map import DPI, PANEL
from .uncertainty_visualizer import place_labels, text_extent

FONT = 8.0  # points


def draw_labelled(panel, found: InstanceData, classes: Sequence[str],
                  image_size: tuple[int, int]) -> None:
    """Draw boxes, each with its class and score, labels off each other.

    Args:
        panel (matplotlib.axes.Axes): Shows the image, one unit a pixel.
        found (InstanceData): ``bboxes`` [n, 4], x1, y1, x2, y2 in pixels,
            ``scores`` [n] and ``labels`` [n]; any device.
        classes (sequence[str]): The names of the classes.
        image_size (tuple[int, int]): Height and width of the image, pixels.
    """
    if not len(found):
        return
    boxes = found.bboxes.detach().cpu().double().numpy()
    labels = found.labels.tolist()
    texts = [f'{classes[i]} {score:.2f}'
             for i, score in zip(labels, found.scores.tolist())]
    corners = _corners(boxes, texts, image_size)
    for box, text, corner, label in zip(boxes, texts, corners, labels):
        _draw_one(panel, box, text, corner, _colour(label))


def _corners(boxes: np.ndarray, texts: Sequence[str],
             image_size: tuple[int, int]) -> np.ndarray:
    """Where labels begin, [n, 2] in pixels of the image."""
    shown = image_size[1] / (PANEL * DPI)  # of the image, in one of the screen
    sizes = [text_extent(text, FONT * DPI / 72) for text in texts]
    return place_labels(boxes, np.array(sizes) * shown, image_size)


def _colour(label: int) -> np.ndarray:
    """RGB in [0, 1]; the ten colours that differ most come again."""
    from matplotlib import colormaps
    colours = colormaps['tab10'].colors
    return np.array(colours[label % len(colours)])


def _draw_one(panel, box: np.ndarray, text: str, corner: np.ndarray,
              colour: np.ndarray) -> None:
    from matplotlib.patches import Rectangle
    x1, y1, x2, y2 = box
    panel.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour,
                  linewidth=1.5))
    panel.text(
        *corner,
        text,
        size=FONT,
        family='DejaVu Sans Mono',
        color='white',
        va='top',
        clip_on=True,
        bbox=dict(facecolor=colour * 0.6, edgecolor='none', pad=1))

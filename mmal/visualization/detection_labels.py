"""Detections on a matplotlib panel, with labels that can be read."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.structures import InstanceData

from mmal.colours import class_colours
from .heat_map import DPI, PANEL
from .uncertainty_visualizer import place_labels, text_extent

FONT = 8.0  # points


def draw_labelled(panel, detections: InstanceData, classes: Sequence[str],
                  image_size: tuple[int, int]) -> None:
    """Draw boxes, each with its class and score, labels off each other.

    Args:
        panel (matplotlib.axes.Axes): Shows the image, one unit a pixel.
        detections (InstanceData): ``bboxes`` [n, 4], x1, y1, x2, y2 in
            pixels, ``scores`` [n] and ``labels`` [n]; any device.
        classes (sequence[str]): The names of the classes.
        image_size (tuple[int, int]): Height and width of the image, pixels.
    """
    if not len(detections):
        return
    from matplotlib.patches import Rectangle
    boxes = detections.bboxes.detach().cpu().double().numpy()
    labels = detections.labels.tolist()
    texts = [f'{classes[i]} {score:.2f}'
             for i, score in zip(labels, detections.scores.tolist())]
    # labels have a size on the screen, their places are in the image
    scale = image_size[1] / (PANEL * DPI)
    sizes = [text_extent(text, FONT * DPI / 72) for text in texts]
    corners = place_labels(boxes, np.array(sizes) * scale, image_size)
    colours = np.array(class_colours(len(classes))) / 255
    for box, text, corner, label in zip(boxes, texts, corners, labels):
        colour = colours[label]
        x1, y1, x2, y2 = box
        panel.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False,
                      edgecolor=colour, linewidth=1.5))
        panel.text(
            *corner,
            text,
            size=FONT,
            family='DejaVu Sans Mono',
            color='white',
            va='top',
            clip_on=True,
            # darker, so that white can be read on yellow
            bbox=dict(facecolor=colour * 0.6, edgecolor='none', pad=1))

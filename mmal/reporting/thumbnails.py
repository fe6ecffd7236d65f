"""Small pictures of images with their labelled boxes."""
from __future__ import annotations

import base64
import os.path as osp
import zlib
from typing import Optional

import cv2
import numpy as np

# BGR, bright enough for a box on a photo.
_COLOURS = ((77, 77, 255), (80, 200, 60), (255, 150, 40), (0, 200, 255),
            (230, 90, 230), (220, 220, 0), (40, 130, 255), (180, 255, 120))
_FAR = 10_000  # pixels: out of sight in any thumbnail


def thumbnail(path: str,
              labels: list[tuple[str, list[float]]],
              height: int = 150,
              max_width: int = 300,
              quality: int = 80) -> Optional[str]:
    """An image as a small JPEG with its boxes drawn.

    Args:
        path (str): The image file.
        labels (list[tuple[str, list[float]]]): Class name and box
            ``[x, y, w, h]`` in pixels of the image; what lies outside of it
            is not seen, and a box without four numbers is not drawn.
        height (int): Height of the picture in pixels.
        max_width (int): Its largest width; wider images become lower.
        quality (int): JPEG quality, 1 to 100.

    Returns:
        str | None: A ``data:`` address for an ``img`` tag; None if the image
        cannot be read.
    """
    # cv2.imread would warn on stderr about every file it cannot read, and
    # cannot open names outside the code page on Windows
    if not osp.isfile(path):  # a pipe would be waited for
        return None
    try:
        content = np.fromfile(path, dtype=np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(
            content) else None
    except (OSError, cv2.error):
        picture = None
    if picture is None:
        return None
    full_height, full_width = picture.shape[:2]
    scale = min(height / full_height, max_width / full_width)
    size = (max(1, round(full_width * scale)),
            max(1, round(full_height * scale)))
    # averaged when it shrinks; small images keep their pixels visible
    picture = cv2.resize(
        picture,
        size,
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    for name, box in labels:
        _draw_box(picture, name, box, scale)
    jpeg = cv2.imencode('.jpg', picture,
                        [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg).decode()


def colour_of(name: str) -> tuple[int, int, int]:
    """The BGR colour of a class, the same in every run."""
    # python's own hash of a string differs from process to process
    return _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]


def _draw_box(picture: np.ndarray, name: str, box: list[float],
              scale: float) -> None:
    try:
        x, y, w, h = (float(number) for number in box)
    except (TypeError, ValueError):
        return
    with np.errstate(over='ignore', invalid='ignore'):
        corners = np.array([x, y, x + w, y + h]) * scale
    if np.isnan(corners).any():
        return
    # OpenCV takes int32 and computes with 16 bits behind the point
    left, top, right, low = np.clip(corners, -_FAR, _FAR).round().astype(
        int).tolist()
    colour = colour_of(name)
    cv2.rectangle(picture, (left, top), (right, low), colour, 1, cv2.LINE_AA)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.33
    # the label stands above the box, or inside it at the upper edge
    (width, tall), _ = cv2.getTextSize(name, font, size, 1)
    bottom = max(top, tall + 3)
    cv2.rectangle(picture, (left, bottom - tall - 3),
                  (left + width + 2, bottom), colour, cv2.FILLED)
    cv2.putText(picture, name, (left + 1, bottom - 2), font, size, (0, 0, 0),
                1, cv2.LINE_AA)

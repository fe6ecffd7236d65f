"""Colours of classes: as many as there are classes, told apart by eye."""
from __future__ import annotations

from functools import cache

import numpy as np

RGB = tuple[int, int, int]


@cache
def class_colours(number: int) -> tuple[RGB, ...]:
    """Colours that differ as much as can be, on photos and on either ground.

    Of all colours of middle lightness, each next one is the farthest from
    those before it in OKLab, where distances are about those that people see
    (Ottosson, "A perceptual color space for image processing", 2020). So the
    first colours are the same whatever the number: class i has one colour in
    all pictures of a data set.

    Args:
        number (int): How many, at least 0.

    Returns:
        tuple[tuple[int, int, int]]: Red, green and blue in [0, 255]. They
        begin again after 400.

    Examples:
        >>> class_colours(2) == class_colours(80)[:2]
        True
    """
    candidates, srgb = _candidates()
    # blue first: it is seen on most photos, and by colour-blind readers
    chosen = [int(np.square(candidates - oklab(
        np.array([[0.10, 0.45, 0.95]]))).sum(1).argmin())]
    nearest = np.full(len(candidates), np.inf)
    while len(chosen) < min(number, 400):
        distances = np.square(candidates - candidates[chosen[-1]]).sum(1)
        np.minimum(nearest, distances, out=nearest)
        chosen.append(int(nearest.argmax()))
    colours = [tuple(int(v) for v in (srgb[i] * 255).round()) for i in chosen]
    return tuple(colours[i % len(colours)] for i in range(number))


def hexadecimal(colour: RGB) -> str:
    """A colour as CSS knows it.

    Examples:
        >>> hexadecimal((255, 0, 16))
        '#ff0010'
    """
    return '#' + ''.join(f'{value:02x}' for value in colour)


def oklab(srgb: np.ndarray) -> np.ndarray:
    """Lightness, green-red and blue-yellow of colours.

    Args:
        srgb (np.ndarray): [N, 3] in [0, 1].

    Returns:
        np.ndarray: [N, 3]; lightness in [0, 1], the others about ±0.4.
    """
    linear = np.where(srgb <= 0.04045, srgb / 12.92,
                      ((srgb + 0.055) / 1.055)**2.4)
    cones = np.cbrt(linear @ _TO_CONES.T)
    return cones @ _TO_LAB.T


# The matrices M1 (of linear sRGB) and M2 of OKLab.
_TO_CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                      [0.2119034982, 0.6806995451, 0.1073969566],
                      [0.0883024619, 0.2817188376, 0.6299787005]])
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                    [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])


@cache
def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """OKLab [N, 3] and sRGB [N, 3] of the colours to choose from."""
    steps = np.linspace(0, 1, 18)
    srgb = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    lab = oklab(srgb)
    # neither grey, which is the ground, nor glaring, nor too dark or too light
    # for lines
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    fits = (chroma > 0.09) & (chroma < 0.235) & (lab[:, 0] > 0.52) & (
        lab[:, 0] < 0.85)
    return lab[fits], srgb[fits]

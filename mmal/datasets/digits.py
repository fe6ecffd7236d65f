"""Scenes of real handwritten digits: the data set of the demo and of tests.

The digits are scikit-learn's ``load_digits`` (1,797 samples of 8x8 pixels from
the UCI "Optical Recognition of Handwritten Digits" set, 43 writers), drawn
large on textured backgrounds. Scenes differ in difficulty and the pool holds
many easy ones and few of some classes, so that it matters which are labelled.
"""
from __future__ import annotations

import os.path as osp
import struct
import zlib
from dataclasses import dataclass
from typing import Optional

import numpy as np

from mmal.fileio import write_bytes, write_json
from mmal.registry import FUNCTIONS
from .dataset_cache import build_once

CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven',
           'eight', 'nine')
LAYOUT_VERSION = 1
VISIBLE = 0.5
GREY = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Level:
    """How hard a scene is.

    Args:
        digits (tuple[int]): Fewest and most digits.
        side (tuple[float]): Smallest and largest digit, as a share of the
            image side.
        contrast (tuple[int]): Difference of grey value to the background.
        texture (tuple[int]): Amplitude of the background, in grey values.
        clutter (tuple[int]): Fewest and most strokes that are no digit.
    """
    digits: tuple[int, int]
    side: tuple[float, float]
    contrast: tuple[int, int]
    texture: tuple[int, int]
    clutter: tuple[int, int]


LEVELS = (
    Level((1, 2), (0.36, 0.56), (110, 150), (4, 14), (0, 0)),
    Level((2, 4), (0.27, 0.48), (80, 130), (10, 26), (0, 2)),
    Level((3, 6), (0.22, 0.38), (60, 110), (16, 34), (1, 4)),
)


@dataclass(frozen=True)
class Split:
    """What a split is made of.

    Args:
        first_id (int): Id of the first image.
        levels (tuple[float]): Share of the scenes of each of ``LEVELS``.
        classes (tuple[float]): Weight of each class in the draw of a digit.
    """
    first_id: int
    levels: tuple[float, ...]
    classes: tuple[float, ...]


SPLITS = {
    'pool': Split(1, (0.5, 0.3, 0.2),
                  (1, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3)),
    'val': Split(100_001, (0.3, 0.4, 0.3), (1, ) * 10),
}


@FUNCTIONS.register_module()
def make_digits(root: str,
                seed: int = 0,
                pool: int = 400,
                val: int = 100,
                size: int = 128) -> str:
    """Make the digits data set in ``root`` unless it is there already.

    Writes ``pool.json``, ``val.json`` (COCO format, boxes around the visible
    strokes, 10 classes), ``images/*.png`` and ``parameters.json``. The digits
    of the two splits come from disjoint samples. Same arguments, same bytes.
    The folder appears as a whole or not at all, also when several processes
    make it at once. One that is there is never changed: other arguments need
    another folder.

    Args:
        root (str): Folder of the data set.
        seed (int): Seed of everything random. Defaults to 0.
        pool (int): Number of pool images. Defaults to 400.
        val (int): Number of validation images. Defaults to 100.
        size (int): Height and width of an image in pixels, at least 64.
            Defaults to 128.

    Returns:
        str: ``root``.

    Raises:
        ValueError: If a number is out of range.
        FileExistsError: If ``root`` holds something else.
        ImportError: If scikit-learn is missing.
    """
    parameters = dict(
        version=LAYOUT_VERSION, seed=seed, pool=pool, val=val, size=size)
    least = dict(version=1, seed=0, pool=1, val=1, size=64)
    for name, value in parameters.items():
        if not isinstance(value, int) or value < least[name]:
            raise ValueError(f'make_digits: {name} is {value!r}; give a whole '
                             f'number of at least {least[name]}')

    def fill(folder: str) -> None:
        banks = digit_banks(seed)
        for number, (name, split) in enumerate(SPLITS.items()):
            # a stream of its own: more pool images change no validation
            rng = np.random.default_rng([seed, 1, number])
            images, annotations = [], []
            for i in range(parameters[name]):
                level = LEVELS[rng.choice(len(LEVELS), p=split.levels)]
                picture, boxes, labels = draw_scene(level, size, banks[name],
                                                    split.classes, rng)
                image = dict(
                    id=split.first_id + i, file_name=f'{name}_{i:04d}.png',
                    height=size, width=size)
                images.append(image)
                write_bytes(
                    osp.join(folder, 'images', image['file_name']),
                    encode_png(picture))
                for box, label in zip(boxes, labels):
                    annotations.append(
                        dict(
                            id=split.first_id + len(annotations),
                            image_id=image['id'],
                            category_id=label + 1,
                            bbox=box,
                            area=box[2] * box[3],
                            iscrowd=0))
            categories = [
                dict(id=c + 1, name=n) for c, n in enumerate(CLASSES)]
            write_json(
                osp.join(folder, f'{name}.json'),
                dict(images=images, annotations=annotations,
                     categories=categories))

    return build_once(root, parameters, fill, 'make_digits')


def digit_banks(seed: int) -> dict:
    """Samples of each class, a quarter of them for validation alone."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise ImportError(
            'the digits come with scikit-learn, which is missing. Install it '
            "with: pip install 'mmdet-al[digits]' (or pip install "
            'scikit-learn)'
        ) from e
    # samples, not scenes, are divided: no validation digit is trained on
    digits = load_digits()
    rng = np.random.default_rng([seed, 0])
    banks = {'pool': [], 'val': []}
    for label in range(len(CLASSES)):
        samples = rng.permutation(np.flatnonzero(digits.target == label))
        cut = len(samples) // 4
        banks['val'].append(digits.images[samples[:cut]] / 16.0)
        banks['pool'].append(digits.images[samples[cut:]] / 16.0)
    return banks


def draw_scene(level: Level, size: int, bank: list[np.ndarray],
               class_weights: tuple[float, ...],
               rng: np.random.Generator) -> tuple:
    """Draw one scene.

    Args:
        level (Level): How hard it is to be.
        size (int): Side of the image in pixels.
        bank (list[ndarray]): Per class, samples [n, 8, 8] in [0, 1].
        class_weights (tuple[float]): Weight of each class in the draw.
        rng (Generator): Source of randomness.

    Returns:
        tuple: The RGB image, uint8 [size, size, 3]; boxes, lists of whole
        numbers (x, y, width, height); labels, from 0.
    """
    ground = rng.uniform(50, 205)
    picture = _background(size, ground, rng.uniform(*level.texture), rng)
    for _ in range(rng.integers(level.clutter[0], level.clutter[1] + 1)):
        colour = _colour(ground, rng.uniform(*level.contrast), rng)
        _paint(picture, _curve(size, rng), colour, (0, 0))
    weights = np.array(class_weights) / sum(class_weights)
    boxes, labels = [], []
    wanted = rng.integers(level.digits[0], level.digits[1] + 1)
    for label in rng.choice(len(bank), size=wanted, p=weights).tolist():
        sample = bank[label][rng.integers(len(bank[label]))]
        mask = _strokes(sample, size * rng.uniform(*level.side), rng)
        corner = _free_place(mask.shape, size, boxes, rng)
        if corner is None:  # fewer digits rather than one over another
            continue
        colour = _colour(ground, rng.uniform(*level.contrast), rng)
        _paint(picture, mask, colour, corner)
        height, width = mask.shape
        boxes.append([corner[1], corner[0], width, height])
        labels.append(label)
    return np.rint(picture.clip(0, 255)).astype(np.uint8), boxes, labels


def _background(size: int, ground: float, texture: float,
                rng: np.random.Generator) -> np.ndarray:
    """Noise of four scales and stripes, around one tinted grey."""
    noise = rng.normal(size=(size, size)) * 0.3
    for cells, weight in ((3, 1.0), (8, 0.7), (24, 0.5)):
        # a matrix [size, cells] that enlarges linearly
        at = np.linspace(0, cells - 1, size)[:, None]
        rows = (1 - np.abs(at - np.arange(cells))).clip(0)
        noise += weight * rows @ rng.normal(size=(cells, cells)) @ rows.T
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 24)
        y, x = np.mgrid[:size, :size]
        along = x * np.cos(angle) + y * np.sin(angle)
        noise += 0.8 * np.sin(2 * np.pi * along / period)
    # less its own grey value, so that contrasts are what the level says
    tint = rng.normal(0, 18, 3)
    return ground + tint - tint @ GREY + (texture * noise)[..., None]


def _strokes(sample: np.ndarray, side: float,
             rng: np.random.Generator) -> np.ndarray:
    """Enlarge a digit smoothly, turned and stretched a little.

    Returns:
        ndarray: Opacity in [0, 1], cropped to the visible strokes, of which
        the longer side is close to ``side`` pixels.
    """
    canvas = int(np.ceil(side * 1.5))
    angle = rng.uniform(-0.25, 0.25)
    stretch = rng.uniform(0.8, 1.1)
    bold = rng.uniform(0.4, 0.55)
    y, x = (np.mgrid[:canvas, :canvas] - (canvas - 1) / 2) * 8 / side
    rows = _spline(y * np.cos(angle) - x * np.sin(angle) + 3.5)
    columns = _spline((y * np.sin(angle) + x * np.cos(angle)) / stretch + 3.5)
    ink = (rows @ sample * columns).sum(-1)
    opacity = ((ink / ink.max() - bold) / 0.12 + 0.5).clip(0, 1)
    seen = opacity >= VISIBLE
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return opacity[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def _spline(at: np.ndarray) -> np.ndarray:
    """Catmull-Rom weights [..., 8] of the cells of a digit."""
    t = np.abs(at[..., None] - np.arange(8)).clip(0, 2)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, near, far)


def _curve(size: int, rng: np.random.Generator) -> np.ndarray:
    """Opacity [size, size] of a bent stroke as thick as a digit's."""
    ends = rng.uniform(0, size, (1, 2))
    points = ends + rng.normal(0, size * 0.2, (3, 2))
    t = np.linspace(0, 1, 80)[:, None]
    line = ((1 - t)**2 * points[0] + 2 * t * (1 - t) * points[1] +
            t**2 * points[2])
    pixels = np.arange(size)
    squared = ((pixels[None, :, None] - line[:, 0, None, None])**2 +
               (pixels[None, None, :] - line[:, 1, None, None])**2)
    thickness = rng.uniform(2, 4) * size / 128
    return (thickness + 0.5 - np.sqrt(squared.min(0))).clip(0, 1)


def _colour(ground: float, contrast: float,
            rng: np.random.Generator) -> np.ndarray:
    """A colour whose grey value is ``contrast`` away from the background."""
    sign = 1 if rng.random() < 0.5 else -1
    if not 0 <= ground + sign * contrast <= 255:
        sign = -sign
    grey = min(max(ground + sign * contrast, 0), 255)
    tint = rng.normal(0, 30, 3)
    return grey + tint - tint @ GREY


def _paint(picture: np.ndarray, opacity: np.ndarray, colour: np.ndarray,
           corner: tuple[int, int]) -> None:
    """Blend a colour into a picture, from a (row, column) on; in place."""
    (row, column), (height, width) = corner, opacity.shape
    covered = picture[row:row + height, column:column + width]
    covered += opacity[..., None] * (colour - covered)


def _free_place(shape: tuple[int, int], size: int, boxes: list,
                rng: np.random.Generator) -> Optional[tuple[int, int]]:
    """A (row, column) where nothing is yet, or None after 40 trials."""
    height, width = shape
    if max(shape) > size:
        return None
    for _ in range(40):
        row = int(rng.integers(size - height + 1))
        column = int(rng.integers(size - width + 1))
        if not any(column < x + w + 2 and x < column + width + 2
                   and row < y + h + 2 and y < row + height + 2
                   for x, y, w, h in boxes):
            return row, column
    return None


def encode_png(picture: np.ndarray) -> bytes:
    """PNG without compression: the same bytes from every zlib.

    Args:
        picture (ndarray): RGB, uint8 [height, width, 3].

    Returns:
        bytes: The content of the file.
    """
    height, width = picture.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = picture.reshape(height, -1)
    content = rows.tobytes()
    # deflate's blocks of stored bytes, which hold 65,535 at most
    blocks = [content[i:i + 65535] for i in range(0, len(content), 65535)]
    stored = b''.join(
        struct.pack('<BHH', i == len(blocks) - 1, len(b), 65535 - len(b)) + b
        for i, b in enumerate(blocks))
    stream = b'\x78\x01' + stored + struct.pack('>I', zlib.adler32(content))
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header) +
            _chunk(b'IDAT', stream) + _chunk(b'IEND', b''))


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG: its length, kind and content, and a checksum."""
    return (struct.pack('>I', len(content)) + kind + content +
            struct.pack('>I', zlib.crc32(kind + content)))

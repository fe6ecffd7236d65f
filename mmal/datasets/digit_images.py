"""scikit-learn's handwritten digits, one in an image of 32 x 32 pixels."""
from __future__ import annotations

import cv2
import numpy as np

from mmal.registry import FUNCTIONS
from .dataset_cache import build_once
from .digits import CLASSES, SPLITS, digit_banks
from .image_labels import ImageLabels, write_image_labels

SIDE = 32


@FUNCTIONS.register_module()
def make_digit_images(root: str, seed: int = 0) -> str:
    """Make the classification digits in ``root`` unless they are there.

    The 1,797 samples of ``load_digits``, enlarged four times: a quarter of
    each class is ``val.json``, the rest ``pool.json``, where some classes are
    rarer than others, as in the scenes of :func:`make_digits`.

    Args:
        root (str): Folder of the data set.
        seed (int): Says which samples are in which split.

    Returns:
        str: ``root``.

    Raises:
        FileExistsError: If ``root`` holds something else.
        ImportError: If scikit-learn is missing.
    """

    def fill(folder: str) -> None:
        banks = digit_banks(seed)
        for name, split in SPLITS.items():
            images = _split(banks[name], split.classes, split.first_id)
            write_image_labels(folder, name, images, CLASSES)

    return build_once(root, dict(data='digit images', seed=seed, version=1),
                       fill, 'make_digit_images')


def _split(bank: list[np.ndarray], shares: tuple[float, ...],
           first_id: int) -> ImageLabels:
    """So many of each class as its share of the most frequent one says."""
    kept = [b[:round(len(b) * s / max(shares))] for b, s in zip(bank, shares)]
    labels = np.repeat(np.arange(len(kept)), [len(b) for b in kept])
    images = np.stack([_enlarged(x) for x in np.concatenate(kept)])
    return ImageLabels(images, labels, first_id)


def _enlarged(sample: np.ndarray) -> np.ndarray:
    """uint8 [32, 32, 3] of a sample [8, 8] in [0, 1]."""
    grey = cv2.resize(sample, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.rint(255 * grey).astype(np.uint8)[..., None].repeat(3, -1)

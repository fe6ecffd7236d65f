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
            # as many of each class as its share of the most frequent one says
            kept = [
                samples[:round(len(samples) * share / max(split.classes))]
                for samples, share in zip(banks[name], split.classes)]
            labels = np.repeat(np.arange(len(kept)), list(map(len, kept)))
            grey = [cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
                    for x in np.concatenate(kept)]
            images = np.rint(255 * np.stack(grey)).astype(np.uint8)
            # mmdet's pipelines read three channels
            images = images[..., None].repeat(3, -1)
            write_image_labels(folder, name,
                               ImageLabels(images, labels, split.first_id),
                               CLASSES)

    return build_once(root, dict(data='digit images', seed=seed, version=1),
                      fill, 'make_digit_images')

"""Images with one class as a COCO file: a box around each image."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmal.fileio import write_json


@dataclass
class ImageLabels:
    """A split of a classification data set.

    Args:
        images (np.ndarray): uint8 [N, H, W, 3], RGB.
        labels (np.ndarray): int [N], in [0, C).
        first_id (int): Id of the first image; two splits share none.

    Raises:
        ValueError: If the shapes do not fit.
    """
    images: np.ndarray
    labels: np.ndarray
    first_id: int = 1

    def __post_init__(self) -> None:
        self.labels = np.asarray(self.labels, np.int64)
        shape = np.shape(self.images)
        if len(shape) != 4 or shape[3] != 3 or \
                self.labels.shape != shape[:1]:
            raise ValueError(
                f'images of shape {list(shape)} and labels of shape '
                f'{list(self.labels.shape)} must be [N, H, W, 3] and [N].')

    def __len__(self) -> int:
        return len(self.labels)


def write_image_labels(root: str, name: str, split: ImageLabels,
                       classes: Sequence[str]) -> None:
    """Write ``<name>.json`` and ``images/<name>_*.png``.

    Args:
        root (str): An existing folder.
        name (str): Of the split.
        split (ImageLabels): Its content.
        classes (sequence[str]): C names.

    Raises:
        ValueError: If a label has no name.
    """
    if len(split) and not 0 <= split.labels.min() <= split.labels.max() < len(
            classes):
        raise ValueError(
            f'the labels of {name} go from {split.labels.min()} to '
            f'{split.labels.max()}, but there are {len(classes)} classes.')
    os.makedirs(osp.join(root, 'images'), exist_ok=True)
    names = [f'{name}_{i:05d}.png' for i in range(len(split))]
    for file_name, image in zip(names, split.images):
        bgr = np.ascontiguousarray(image[..., ::-1])
        png = cv2.imencode('.png', bgr)[1]
        # not atomic: 60,000 syncs take minutes, and the folder of a data set
        # appears as a whole
        with open(osp.join(root, 'images', file_name), 'wb') as f:
            f.write(png.tobytes())
    height, width = split.images.shape[1:3]
    ids = range(split.first_id, split.first_id + len(split))
    content = dict(
        images=[
            dict(id=i, file_name=n, height=height, width=width)
            for i, n in zip(ids, names)
        ],
        annotations=[
            dict(
                id=i,
                image_id=i,
                category_id=int(label) + 1,
                bbox=[0, 0, width, height],
                area=width * height,
                iscrowd=0) for i, label in zip(ids, split.labels)
        ],
        categories=[dict(id=c + 1, name=n) for c, n in enumerate(classes)])
    write_json(osp.join(root, f'{name}.json'), content)

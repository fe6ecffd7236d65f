"""SVHN (cropped digits) from its Matlab files."""
from __future__ import annotations

import os.path as osp

import numpy as np

from mmal.registry import FUNCTIONS
from .dataset_cache import build_once
from .image_labels import ImageLabels, write_image_labels

CLASSES = tuple('0123456789')
FILES = dict(pool='train_32x32.mat', val='test_32x32.mat')
VAL_ID = 1_000_001  # above every id of the pool


@FUNCTIONS.register_module()
def make_svhn(source: str, root: str) -> str:
    """Make COCO files of SVHN, format 2, unless they are there already.

    Writes ``pool.json`` (73,257 training images), ``val.json`` (26,032 test
    images) and ``images/*.png``.

    Args:
        source (str): Folder of ``train_32x32.mat`` and ``test_32x32.mat``,
            from http://ufldl.stanford.edu/housenumbers.
        root (str): Folder of the data set.

    Returns:
        str: ``root``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has another content.
        ImportError: If scipy is missing.
        FileExistsError: If ``root`` holds something else.
    """

    def fill(folder: str) -> None:
        for name, file in FILES.items():
            split = read_svhn(
                osp.join(source, file), VAL_ID if name == 'val' else 1)
            write_image_labels(folder, name, split, CLASSES)

    return build_once(root, dict(data='svhn', version=1), fill, 'make_svhn')


def read_svhn(path: str, first_id: int = 1) -> ImageLabels:
    """Read a file of SVHN; its label 10 is the digit 0.

    Args:
        path (str): The ``.mat`` file.
        first_id (int): Of the first image.

    Returns:
        ImageLabels: Its images, in order.
    """
    try:
        from scipy.io import loadmat
    except ImportError as e:
        raise ImportError("the files of SVHN are read by scipy, which is "
                          "missing: pip install 'mmdet-al[svhn]'") from e
    if not osp.exists(path):
        raise FileNotFoundError(
            f'there is no {path}: get it from '
            'http://ufldl.stanford.edu/housenumbers (format 2), and name its '
            'folder in active_learning.prepare_data.source.')
    try:
        content = loadmat(path)
        images, labels = content['X'], content['y']
    except (ValueError, KeyError, NotImplementedError) as e:
        raise ValueError(f'{path} is no file of SVHN, format 2 ({e}): get it '
                         'again.') from e
    # Matlab counts images in the last axis
    return ImageLabels(
        np.moveaxis(images, -1, 0), labels.ravel().astype(np.int64) % 10,
        first_id)

"""CIFAR-10 and CIFAR-100 from their python files."""
from __future__ import annotations

import os.path as osp
import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmal.registry import FUNCTIONS
from .dataset_cache import build_once
from .image_labels import ImageLabels, write_image_labels

SIDE = 32
VAL_ID = 1_000_001  # above every id of the pool


@dataclass(frozen=True)
class _Layout:
    """Files of one of the two.

    Args:
        train, test (tuple[str]): Names of their files.
        meta (str): The file of the class names.
        names, labels (str): Keys of class names and labels.
    """
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names: str
    labels: str


LAYOUTS = {
    10: _Layout(tuple(f'data_batch_{i}' for i in range(1, 6)),
                ('test_batch', ), 'batches.meta', 'label_names', 'labels'),
    100: _Layout(('train', ), ('test', ), 'meta', 'fine_label_names',
                 'fine_labels'),
}


@FUNCTIONS.register_module()
def make_cifar(source: str, root: str, classes: int = 10) -> str:
    """Make COCO files of CIFAR unless they are there already.

    Writes ``pool.json`` (the training images), ``val.json`` (the test images)
    and ``images/*.png``, a file for each of the 60,000 images.

    Args:
        source (str): ``cifar-10-batches-py`` or ``cifar-100-python`` as
            unpacked from the archive "python version" of
            https://www.cs.toronto.edu/~kriz/cifar.html.
        root (str): Folder of the data set.
        classes (int): 10 or 100 (the fine labels).

    Returns:
        str: ``root``.

    Raises:
        ValueError: If ``classes`` is another number, or a file has another
            content.
        FileNotFoundError: If a file is missing.
        FileExistsError: If ``root`` holds something else.
    """
    if classes not in LAYOUTS:
        raise ValueError(f'make_cifar: classes is {classes!r}: there are '
                         'CIFAR-10 and CIFAR-100.')
    layout = LAYOUTS[classes]

    def fill(folder: str) -> None:
        names = _read(osp.join(source, layout.meta))[layout.names.encode()]
        names = [n.decode() for n in names]
        pool = read_cifar(source, layout.train, layout.labels)
        val = read_cifar(source, layout.test, layout.labels, VAL_ID)
        write_image_labels(folder, 'pool', pool, names)
        write_image_labels(folder, 'val', val, names)

    return build_once(root, dict(data='cifar', classes=classes, version=1),
                      fill, 'make_cifar')


def read_cifar(source: str, files: Sequence[str], labels: str = 'labels',
               first_id: int = 1) -> ImageLabels:
    """Read files of CIFAR.

    Args:
        source (str): Their folder.
        files (sequence[str]): Their names.
        labels (str): The key of the labels: 'labels', 'fine_labels' or
            'coarse_labels'.
        first_id (int): Of the first image.

    Returns:
        ImageLabels: All of their images, in order.
    """
    key = labels.encode()  # python 2 pickled them: all strings are bytes
    contents = [_read(osp.join(source, name)) for name in files]
    for name, content in zip(files, contents):
        missing = [k for k in (b'data', key) if k not in content]
        if missing:
            raise ValueError(f'{osp.join(source, name)} has no '
                             f'{missing[0].decode()}: it is no such file of '
                             'CIFAR, unpack the archive again.')
    # a row has the red plane, then the green and the blue one
    rows = np.concatenate([content[b'data'] for content in contents])
    images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return ImageLabels(
        images, np.concatenate([content[key] for content in contents]),
        first_id)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers, lists and strings: no code runs."""

    allowed = frozenset({'_reconstruct', 'ndarray', 'dtype', 'encode'})

    def find_class(self, module: str, name: str):
        # numpy moved its internals from numpy.core to numpy._core
        if name in self.allowed and module.split('.')[0] in ('numpy',
                                                             '_codecs'):
            return super().find_class(module, name)
        raise ValueError(f'a file of CIFAR has no {module}.{name}')


def _read(path: str) -> dict:
    """The content of a file, with keys of bytes."""
    try:
        with open(path, 'rb') as f:
            content = _ArraysOnly(f, encoding='bytes').load()
    except FileNotFoundError:
        raise FileNotFoundError(
            f'there is no {path}: unpack the archive "python version" of '
            'https://www.cs.toronto.edu/~kriz/cifar.html, and name its folder '
            'in active_learning.prepare_data.source.') from None
    except (pickle.UnpicklingError, EOFError, ValueError) as e:
        raise ValueError(f'{path} is no file of CIFAR ({e}): unpack the '
                         'archive again.') from e
    if not isinstance(content, dict):
        raise ValueError(f'{path} is no file of CIFAR: it holds a '
                         f'{type(content).__name__}.')
    return content

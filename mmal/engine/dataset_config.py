"""Reading the config of a data set."""
from __future__ import annotations

from collections.abc import Sequence

import mmcv

from mmal.pool import ImageLoader
from mmal.scoring.data import is_loader


def innermost_dataset(cfg: dict) -> dict:
    """The dataset inside wrappers such as RepeatDataset.

    Raises:
        ValueError: If several datasets are joined.
    """
    while 'dataset' in cfg:
        cfg = cfg['dataset']
    if 'datasets' in cfg:
        raise ValueError(
            f'{cfg["type"]} joins several datasets, but active learning needs '
            'one pool: merge their json files into one COCO file.')
    return cfg


def image_loader(pipeline: Sequence[dict]) -> ImageLoader:
    """What loads the images of a pipeline.

    Args:
        pipeline (sequence[dict]): Of a data set config.

    Returns:
        ImageLoader: With the arguments of its ``LoadImageFromFile``; mmcv's
        own where a class of another name loads them.

    Raises:
        ValueError: If mmcv cannot load anything with these arguments.
    """
    step = next(filter(is_loader, pipeline), {})
    # their name in mmdet 2, and the name there of files on a disk
    backend_args = step.get('backend_args') or step.get('file_client_args')
    if backend_args == dict(backend='disk'):
        backend_args = None
    backend = step.get('imdecode_backend', 'cv2')
    if backend is None:  # what mmcv.use_backend has set
        backend = mmcv.image.io.imread_backend
    loader = ImageLoader(
        backend, step.get('color_type', 'color'), backend_args)
    loader.check()
    return loader

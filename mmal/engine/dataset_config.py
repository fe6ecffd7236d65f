"""Reading the config of a data set."""
from __future__ import annotations

from collections.abc import Sequence

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
    backend_args = step.get('backend_args')
    if step.get('file_client_args'):  # their name in mmdet 2
        backend_args = dict(step['file_client_args'])
        if backend_args.get('backend') == 'disk':
            backend_args = None
    loader = ImageLoader(
        step.get('imdecode_backend', 'cv2'), step.get('color_type', 'color'),
        backend_args)
    loader.check()
    return loader

"""What a training outside a run needs: a plain config and checked images."""
from __future__ import annotations

import copy

from mmengine.config import Config

from mmal.engine.checks import check_pool
from mmal.engine.settings import image_prefix
from mmal.pool import CocoData, check_images


def plain_config(cfg: Config) -> Config:
    """A copy of a config without anything of active learning."""
    cfg = copy.deepcopy(cfg)
    cfg.pop('active_learning', None)
    cfg.custom_hooks = [
        h for h in cfg.get('custom_hooks', [])
        if h['type'] != 'mmal.ActiveLearningHook'
    ]
    return cfg


def check_training_data(coco: CocoData, dataset: dict,
                        images: dict) -> None:
    """Check the classes and the images of a file before a training.

    Args:
        coco (CocoData): What is trained on.
        dataset (dict): Config of the data set that says the classes.
        images (dict): Config of the data set that says where the images are.

    Raises:
        ValueError: If the classes do not fit.
        FileNotFoundError: If an image is unreadable.
    """
    check_pool(coco, dataset)
    unreadable = check_images(coco, image_prefix(images))
    if unreadable:
        raise FileNotFoundError(
            f'{len(unreadable)} image(s) of {coco.path} are unreadable, the '
            f'first is {unreadable[0]}.')

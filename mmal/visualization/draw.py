"""Pictures of what a detector finds on some images."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Sequence
from typing import Optional

import mmcv
import numpy as np
import torch
from mmdet.apis import inference_detector, init_detector
from torch import nn

from mmal.compat.checkpoints import check_exists
from mmal.models.utils import load_weights
from .uncertainty_visualizer import UncertaintyVisualizer


def load_detector(config: str,
                  checkpoint: str,
                  device: Optional[str] = None,
                  cfg_options: Optional[dict] = None) -> nn.Module:
    """mmdet's ``init_detector``, on the GPU where there is one.

    Args:
        config (str): The config file.
        checkpoint (str): The trained weights.
        device (str, optional): Another device.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights do not fit the config.
    """
    if not osp.isfile(config):
        raise FileNotFoundError(f'there is no {config}.')
    check_exists(checkpoint)
    default = 'cuda:0' if torch.cuda.is_available() else 'cpu'
    model = init_detector(
        config,
        checkpoint,
        device=device or default,
        # without any, mmdet reads model.backbone, which a detector around
        # another one does not have
        cfg_options=cfg_options or {})
    # mmdet goes on with weights that do not fit, and only logs their names
    load_weights(model, checkpoint, config, mmap=True)
    return model


def draw_detections(model: nn.Module,
                    images: Sequence[str],
                    folder: str,
                    score_thr: float = 0.3,
                    show_uncertainty: bool = True) -> list[str]:
    """Detect on images and write a png of each.

    Args:
        model (nn.Module): From mmdet's ``init_detector``.
        images (sequence[str]): Paths of N images.
        folder (str): Where the pictures go; made if missing.
        score_thr (float): Detections above it are drawn.
        show_uncertainty (bool): Whether labels show uncertainties.

    Returns:
        list[str]: The N files, named as the images are; a name that is taken
        gets a number.

    Raises:
        FileNotFoundError: If there is no such image; nothing is drawn.
        ValueError: If a file is no image.
    """
    missing = [path for path in images if not osp.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f'there is no image {missing[0]}: check the path.')
    visualizer = UncertaintyVisualizer(show_uncertainty=show_uncertainty)
    visualizer.dataset_meta = model.dataset_meta
    os.makedirs(folder, exist_ok=True)
    files = [osp.join(folder, name) for name in picture_names(images)]
    for path, file in zip(images, files):
        image = mmcv.imread(path)
        if image is None:
            raise ValueError(f'{path} cannot be read as an image: is it one?')
        visualizer.add_datasample(
            osp.basename(path),
            np.ascontiguousarray(image[..., ::-1]),
            inference_detector(model, path),
            draw_gt=False,
            pred_score_thr=score_thr,
            out_file=file)
    return files


def picture_names(images: Sequence[str]) -> Iterator[str]:
    """The name of each image's png; one that is taken gets a number."""
    names = set()
    for path in images:
        # images of several folders, or of several formats, may share a stem
        stem = name = osp.splitext(osp.basename(path))[0]
        number = 1
        while name in names:
            number += 1
            name = f'{stem}_{number}'
        names.add(name)
        yield f'{name}.png'

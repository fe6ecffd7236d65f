"""Calibration of trained detectors, or of predictions kept in a file."""
from __future__ import annotations

import io
import os.path as osp
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmal.evaluation import CalibrationData
from mmal.evaluation.calibration_metric import CalibrationMetric


@torch.no_grad()
def calibration_of_model(model: nn.Module,
                         progress: bool = True,
                         **options) -> CalibrationData:
    """Detect on the validation images of a detector's config.

    Args:
        model (nn.Module): In eval mode with its config as ``cfg``, as
            :func:`mmal.visualization.load_detector` gives it.
        progress (bool): Whether there is a progress bar.
        **options: Of ``CalibrationMetric``. Without ``ann_file`` the truth is
            the config's ``val_evaluator.ann_file``, or the samples' own.

    Raises:
        ValueError: If the config has no validation images, or they come
            without their boxes.
    """
    loader = validation_loader(model.cfg)
    options.setdefault('ann_file', truth_file(model.cfg))
    metric = CalibrationMetric(**options)
    metric.dataset_meta = loader.dataset.metainfo
    for batch in tqdm(loader, 'detecting', disable=not progress):
        metric.process(batch, plain_samples(model.val_step(batch)))
    return CalibrationData.join(metric.results)


def calibration_of_file(path: str, **options) -> CalibrationData:
    """Read what mmdet's ``tools/test.py --out`` has written.

    Args:
        path (str): A ``.pkl`` file. Reading one can run code that is in it:
            give none that others made.
        **options: Of ``CalibrationMetric``. ``ann_file`` is needed, since
            mmdet leaves the truth out; its classes, in order, are the labels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no predictions, or the truth is not known.
    """
    metric = CalibrationMetric(**options)
    metric.process({}, plain_samples(read_predictions(path)))
    return CalibrationData.join(metric.results)


def validation_loader(cfg: Config) -> DataLoader:
    """Batches of the validation images of a detector's config.

    Raises:
        ValueError: If it has none.
    """
    if not cfg.get('val_dataloader'):
        raise ValueError(f'{cfg.filename} has no val_dataloader: there are no '
                         'images to detect on.')
    with redirect_stdout(io.StringIO()):  # pycocotools talks
        return Runner.build_dataloader(cfg.val_dataloader)


def truth_file(cfg: Mapping) -> Optional[str]:
    """What the validation of a config compares with, if it is a file."""
    evaluators = cfg.get('val_evaluator') or []
    if isinstance(evaluators, Mapping):
        evaluators = [evaluators]
    return next(filter(None, (e.get('ann_file') for e in evaluators)), None)


def read_predictions(path: str) -> list:
    """The samples in a ``.pkl`` file of mmdet's ``tools/test.py --out``.

    Raises:
        FileNotFoundError, ValueError: See :func:`calibration_of_file`.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no file of predictions {path}.')
    samples = load(path) if path.endswith(('.pkl', '.pickle')) else None
    if not isinstance(samples, (list, tuple)) or not all(
            isinstance(s, (Mapping, BaseDataElement))
            and 'pred_instances' in s for s in samples):
        raise ValueError(f'{path} holds no predictions: give a .pkl that '
                         "mmdet's tools/test.py --out has written.")
    return samples


def plain_samples(samples: Iterable) -> list[dict]:
    """Samples as the evaluator of a run hands them on."""
    return [s.to_dict() if isinstance(s, BaseDataElement) else s
            for s in samples]

"""Any detector with scores, and margins of boxes, that were calibrated."""
from __future__ import annotations

from functools import cache
from typing import Union

import torch
from mmdet.models.detectors import BaseDetector
from mmengine.structures import InstanceData
from torch import nn

from mmal.calibration import Calibration
from mmal.registry import MODELS


class Calibrated:
    """What :func:`calibrated_detector` adds to the class of a detector.

    Detections get the fields

    - ``scores``: calibrated, and highest first; of equal ones the highest raw
      score first,
    - ``raw_scores``: as the detector gave them,
    - ``box_outer``, ``box_inner`` [n, 4], with a calibration of boxes: x1,
      y1, x2, y2 in pixels of the image that ``bboxes`` are given in. At the
      calibrated level the object lies inside the first and covers the second.
      The outer box may reach beyond the image; the inner one has x1 > x2 or
      y1 > y2 where no point is sure to belong to the object.
    """
    calibration: Calibration

    def predict(self, batch_inputs, batch_data_samples, rescale: bool = True):
        """The detector's own detections, calibrated.

        Args:
            batch_inputs (Tensor): [B, 3, H, W].
            batch_data_samples (list[DetDataSample]): B samples.
            rescale (bool): Whether boxes are given in the original image.

        Returns:
            list[DetDataSample]: With ``pred_instances``; see the class.
        """
        samples = super().predict(
            batch_inputs, batch_data_samples, rescale=rescale)
        for sample in samples:
            scale = (1.0, 1.0) if rescale else sample.metainfo.get(
                'scale_factor', (1.0, 1.0))
            sample.pred_instances = calibrate(
                sample.pred_instances, self.calibration, scale[:2])
        return samples


@MODELS.register_module(name='CalibratedDetector')
def calibrated_detector(detector: Union[dict, str], calibration: str,
                        **kwargs) -> nn.Module:
    """Any mmdet detector whose predictions are calibrated::

        model = dict(
            type='mmal.CalibratedDetector',
            detector=dict(type='FCOS', backbone=…, …),
            calibration='calibration.json')

    or, with the type of the detector alone, on the command line of any
    config::

        --cfg-options model.type=mmal.CalibratedDetector \\
            model.detector=FCOS model.calibration=calibration.json

    It is the detector itself: an object of a subclass of its class, with its
    parts under their names and :class:`Calibrated` before it. So checkpoints
    of the plain detector are loaded, scorers find its heads, and training
    trains it as if nothing were calibrated: a calibration belongs to trained
    weights, so fit it after the training and anew after more of it.

    Only final detections are calibrated. What scorers read from the head's
    outputs is what the detector says itself.

    Args:
        detector (dict | str): Its config, or its type, with the other keys
            beside it.
        calibration (str): A file of ``mmal analysis calibrate``.
        **kwargs: The keys of the detector, if ``detector`` is its type.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If this is no detector, or there are keys beside a config.
        ValueError: If the file holds no calibration, or one of another number
            of classes.
    """
    if not isinstance(detector, str) and kwargs:
        raise TypeError(
            f'model.{next(iter(kwargs))} stands beside model.detector, which '
            'is a whole config: move it in there.')
    loaded = Calibration.load(calibration)
    model = MODELS.build(
        dict(kwargs, type=detector) if isinstance(detector, str) else detector)
    if not isinstance(model, BaseDetector):
        raise TypeError(f'model.detector is a {type(model).__name__}, no '
                        'detector of mmdet.')
    head = getattr(getattr(model, 'roi_head', model), 'bbox_head', None)
    # the last of several stages
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    number = getattr(head, 'num_classes', len(loaded.classes))
    if number != len(loaded.classes):
        raise ValueError(
            f'{calibration} is of {len(loaded.classes)} classes, the detector '
            f'has {number}: fit a calibration for this detector.')
    model.calibration = loaded
    # as torch's parametrizations do it: parts and weights stay where they are
    model.__class__ = _calibrated(type(model))
    return model


def calibrate(detections: InstanceData,
              calibration: Calibration,
              scale: tuple[float, float] = (1.0, 1.0)) -> InstanceData:
    """Detections of one image with the fields of :class:`Calibrated`.

    Args:
        detections (InstanceData): ``bboxes`` [n, 4], ``scores`` [n] and
            ``labels`` [n]; with ``box_std`` [n, 4] if the calibration of
            boxes is scaled.
        calibration (Calibration): For this detector.
        scale (tuple[float, float]): Width and height of the image that boxes
            are given in, divided by those of the original one.

    Returns:
        InstanceData: New, in the order of calibrated scores.

    Raises:
        ValueError: If ``box_std`` is missing.
    """
    fields = dict(
        raw_scores=detections.scores,
        scores=calibration.scores(detections.scores, detections.labels))
    if calibration.boxes is not None:
        boxes = detections.bboxes
        margins = calibration.boxes.margins(
            detections.labels, _stds(detections), scale).to(boxes)
        outwards = margins * margins.new_tensor([-1, -1, 1, 1])
        fields.update(box_outer=boxes + outwards, box_inner=boxes - outwards)
    found = detections.new()
    for name, value in fields.items():
        found[name] = value
    by_raw = found.raw_scores.argsort(descending=True, stable=True)
    order = by_raw[found.scores[by_raw].argsort(descending=True, stable=True)]
    return found[order]


def _stds(detections: InstanceData):
    """``box_std``; of no detection heads leave it out."""
    stds = detections.get('box_std')
    if stds is None and not len(detections):
        stds = torch.zeros_like(detections.bboxes)
    return stds


@cache
def _calibrated(cls: type) -> type:
    """The subclass of a detector class; the same one each time."""
    return type(f'Calibrated{cls.__name__}', (Calibrated, cls), {})

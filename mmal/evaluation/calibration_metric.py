"""Calibration of class scores and box intervals as a metric of a run."""
from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Optional

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from mmal.registry import METRICS
from .calibration import (
    FALSE_ALARM,
    IGNORED,
    LEVELS,
    CalibrationData,
    check_bins,
    check_levels,
    match_to_truth,
)


@METRICS.register_module()
class CalibrationMetric(BaseMetric):
    """How far scores and box intervals can be trusted.

    Detections are matched to objects as COCO does it. Crowds and other
    ignored objects are left out, with the detections that found but these.
    The results:

    - ``detections`` and ``matched``: how many there are, and how many of
      these found an object.
    - ``ece``: expected calibration error of the scores, in [0, 1].
    - ``overconfidence``: mean score minus the share that found an object.
    - ``box_nll``: mean negative log likelihood of a coordinate, in nats.
    - ``coverage_50``, ``coverage_90``, ``coverage_95``: shares of the
      coordinates inside their intervals, in [0, 1].
    - ``box_std``: mean predicted standard deviation of a coordinate, and
      ``box_rmse``: the root mean square of its error, in pixels.

    Those of boxes are of detections that found an object, and only of heads
    that give ``box_std``, a Gaussian's. Without any such detection they are
    left out; without any at all ``ece`` and ``overconfidence`` are, too.

    Args:
        ann_file (str, optional): COCO file of the truth. Default: the boxes
            of the samples, which the val pipeline must load after resizing.
            A data set without names of classes has all classes of the file.
        bins (int): Of equal width, for ``ece``.
        score_thr (float): Detections with at least this score count. A
            detector with a higher ``test_cfg.score_thr`` is measured from
            that on; compare detectors from the same.
        iou_thr (float): IoU from which an object counts as found.
        levels (sequence[float]): Nominal coverages of the intervals.
        **kwargs: Of mmengine's ``BaseMetric``.

    Raises:
        ValueError: If an argument is out of range.
    """
    default_prefix = 'calibration'

    def __init__(self,
                 ann_file: Optional[str] = None,
                 bins: int = 15,
                 score_thr: float = 0.05,
                 iou_thr: float = 0.5,
                 levels: Sequence[float] = LEVELS,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        check_bins(bins)
        check_levels(levels)
        if not 0 <= score_thr < 1:
            raise ValueError(f'CalibrationMetric: score_thr is {score_thr}: '
                             'give a number in [0, 1).')
        if not 0 < iou_thr <= 1:
            raise ValueError(f'CalibrationMetric: iou_thr is {iou_thr}: give '
                             'a number in (0, 1].')
        self.bins = bins
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.levels = tuple(levels)
        self._truth = None if ann_file is None else CocoTruth(ann_file)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare the detections of some images with the truth.

        Args:
            data_batch (dict): Not used.
            data_samples (sequence[dict]): With ``pred_instances``, and
                ``img_id`` or ``gt_instances`` and ``ignored_instances``.
        """
        for sample in data_samples:
            detections = {
                k: _numpy(v) for k, v in sample['pred_instances'].items()
                if k in ('bboxes', 'labels', 'scores', 'box_std')
            }
            keep = detections['scores'] >= self.score_thr
            detections = {k: v[keep] for k, v in detections.items()}
            if self._truth is not None:
                classes = (self.dataset_meta or {}).get('classes', ())
                truth = self._truth.of(sample['img_id'], classes)
            else:
                truth = packed_truth(sample)
            match = match_to_truth(detections['bboxes'], detections['labels'],
                                   detections['scores'], *truth, self.iou_thr)
            counted, hits = match != IGNORED, match > FALSE_ALARM
            # the heads of most detectors predict no deviation
            stds = detections.get('box_std')
            known = hits if stds is not None else np.zeros_like(hits)
            true_boxes = truth[0]
            self.results.append(
                CalibrationData(
                    confidences=detections['scores'][counted].astype(
                        np.float64),
                    correct=hits[counted],
                    errors=true_boxes[match[known]] -
                    detections['bboxes'][known],
                    stds=np.zeros((0, 4)) if stds is None else
                    stds[hits].astype(np.float64)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See the class; keys without the prefix."""
        numbers = CalibrationData.join(results).summary(self.bins, self.levels)
        shown = ', '.join(f'{k} {v:.4g}' for k, v in numbers.items())
        MMLogger.get_current_instance().info(f'Calibration: {shown}')
        return numbers


class CocoTruth:
    """The objects in a COCO file.

    Args:
        ann_file (str): Its path.
    """

    def __init__(self, ann_file: str) -> None:
        # pycocotools talks
        with get_local_path(ann_file) as path, redirect_stdout(io.StringIO()):
            self.coco = COCO(path)

    def of(self, image_id: int, classes: Sequence[str]
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes [t, 4], labels [t] and whether to ignore each, [t]."""
        if image_id not in self.coco.imgs:
            raise ValueError(
                f'CalibrationMetric: image {image_id} was detected on, but is '
                'not in ann_file: give the file of val_dataloader.dataset.')
        # in the order of the file, as mmdet has it
        ids = self.coco.get_cat_ids(cat_names=classes)
        label = {c: i for i, c in enumerate(ids)}
        objects = [o for o in self.coco.imgToAnns[image_id]
                   if o['category_id'] in label]
        boxes = np.array([o['bbox'] for o in objects],
                         dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([label[o['category_id']] for o in objects],
                          dtype=np.int64)
        ignored = np.array([bool(o.get('iscrowd') or o.get('ignore'))
                            for o in objects], dtype=bool)
        return boxes, labels, ignored


def packed_truth(
        sample: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objects that the val pipeline has packed."""
    true = sample.get('gt_instances') or {}
    if 'bboxes' not in true:
        raise ValueError(
            'CalibrationMetric: the samples have no gt_instances.bboxes. Give '
            'it ann_file (a tool: --ann-file), or put '
            "dict(type='LoadAnnotations', with_bbox=True) between Resize and "
            'PackDetInputs of val_dataloader.dataset.pipeline.')
    parts = [true]
    ignored = sample.get('ignored_instances') or {}
    if 'bboxes' in ignored:
        parts.append(ignored)
    boxes, labels = (np.concatenate([_numpy(p[name]) for p in parts])
                     for name in ('bboxes', 'labels'))
    ignore = np.repeat([False, True][:len(parts)],
                     [len(p['labels']) for p in parts])
    return boxes.reshape(-1, 4).astype(np.float64), labels, ignore


def _numpy(value) -> np.ndarray:
    """A tensor, or mmdet's boxes, on the CPU; bfloat16 becomes float32."""
    value = getattr(value, 'tensor', value).detach().cpu()
    return (value.float() if value.is_floating_point() else value).numpy()

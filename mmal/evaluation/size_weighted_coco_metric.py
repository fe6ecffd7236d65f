"""wMAP: average precision in which objects of all sizes count the same."""
from __future__ import annotations

import io
import os.path as osp
from collections.abc import Sequence
from contextlib import redirect_stdout
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval, COCOevalMP
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import MMLogger

from mmal.registry import METRICS

# COCO's small, medium and large objects, in pixels²
COCO_AREAS = ((0, 32**2), (32**2, 96**2), (96**2, 1e10))


@METRICS.register_module()
class SizeWeightedCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` and wMAP, the mean of AP over groups of object
    sizes.

    "Scalable Active Learning for Object Detection", section IV-A: wMAP
    "averages MAP across several object sizes". AP is COCO's over ``iou_thrs``,
    in [0, 1], not rounded, with the largest of ``proposal_nums`` as the number
    of detections of an image, as in mmdet's ``bbox_mAP_s``. Objects of other
    sizes than the group's are ignored, not missed. Added to the results:

    - ``bbox_wMAP``: mean over the groups of the mean over the classes.
    - ``<class>_wMAP`` with ``classwise=True``: mean over the groups of the AP
      of one class.

    A group, or a class in a group, without an object is left out of the means;
    a value without any is left out of the results. Without detections every
    AP is 0. Objects are matched once more, in about the time that
    ``CocoMetric`` takes. ``active_learning.target`` may name
    ``coco/bbox_wMAP``.

    Args:
        area_ranges (sequence[tuple[float, float]]): The smallest and largest
            area of each group in pixels², as in the annotations' ``area``.
            An object on the border of two groups is in both, as COCO has it.
        **kwargs: Of ``CocoMetric``; ``metric`` must include 'bbox'.

    Raises:
        ValueError: If ``area_ranges`` is empty or one is no range, or boxes
            are not evaluated.
    """

    def __init__(self,
                 *args,
                 area_ranges: Sequence[Sequence[float]] = COCO_AREAS,
                 **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not len(area_ranges):
            raise ValueError('SizeWeightedCocoMetric: area_ranges is empty: '
                             'give at least one group of sizes.')
        for pair in area_ranges:
            if len(pair) != 2 or not 0 <= pair[0] < pair[1]:
                raise ValueError(
                    f'SizeWeightedCocoMetric: {pair} in area_ranges is no '
                    'range: give the smallest and the largest area in '
                    'pixels².')
        if 'bbox' not in self.metrics:
            raise ValueError(
                f'SizeWeightedCocoMetric: metric is {self.metrics}, but wMAP '
                "is of boxes: add 'bbox'.")
        self.area_ranges = [list(map(float, r)) for r in area_ranges]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See the class; keys without the prefix."""
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        with redirect_stdout(io.StringIO()):  # pycocotools talks
            detected = self._load([pred for _, pred in results])
            precision, categories = self._precision(detected)
        overall, of_classes = size_weighted_ap(precision)
        values = {'bbox_wMAP': overall}
        if self.classwise:
            names = [c['name'] for c in self._coco_api.loadCats(categories)]
            values.update(
                (f'{n}_wMAP', v) for n, v in zip(names, of_classes))
        values = {k: float(v) for k, v in values.items() if v >= 0}
        shown = ', '.join(f'{k} {v:.4f}' for k, v in values.items())
        MMLogger.get_current_instance().info(
            shown or 'bbox_wMAP: there are no objects')
        return {**metrics, **values}

    def _load(self, preds: Sequence[dict]) -> COCO:
        """Detections as pycocotools has them."""
        with TemporaryDirectory() as folder:
            files = self.results2json(preds, osp.join(folder, 'results'))
            detections = load(files['bbox'])
        if detections:
            return self._coco_api.loadRes(detections)
        nothing = COCO()  # loadRes cannot read an empty list
        nothing.dataset = dict(self._coco_api.dataset, annotations=[])
        nothing.createIndex()
        return nothing

    def _precision(self, detected: COCO) -> tuple[np.ndarray, list]:
        """COCO's table [IoU, recall, category, group] and its categories."""
        kind = COCOevalMP if self.use_mp_eval else COCOeval
        evaluation = kind(self._coco_api, detected, 'bbox')
        params = evaluation.params
        params.catIds, params.imgIds = self.cat_ids, self.img_ids
        params.iouThrs = np.atleast_1d(self.iou_thrs)
        # one number of detections and one list of areas: COCOeval is run once
        params.maxDets = [max(self.proposal_nums)]
        params.areaRng = self.area_ranges
        params.areaRngLbl = list(map(str, self.area_ranges))
        evaluation.evaluate()
        evaluation.accumulate()
        # the order of this table: COCOeval has sorted the categories
        return evaluation.eval['precision'][..., 0], evaluation.params.catIds


def size_weighted_ap(precision: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean AP over groups of object sizes.

    Args:
        precision (np.ndarray): [T, R, C, A] in [0, 1] for IoU thresholds,
            recalls, classes and groups; -1 where a class has no object.

    Returns:
        tuple[float, np.ndarray]: Of all classes and of each, [C], in [0, 1];
        -1 without any object.

    Examples:
        >>> table = np.array([[1., 0.], [.5, -1.]])  # two classes, two sizes
        >>> size_weighted_ap(table[None, None])
        (0.375, array([0.5, 0.5]))
    """
    # -1 stands at all thresholds and recalls of a class without objects, so
    # that the mean over these is -1 too
    ap = precision.mean((0, 1))
    return float(_known_mean(_known_mean(ap, 0), 0)), _known_mean(ap, 1)


def _known_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is not -1; -1 without any."""
    known = values >= 0
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), -1.0)

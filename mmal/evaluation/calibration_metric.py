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
    check_bins,
    check_levels,
    match_to_truth,
)
from .calibration_data import CalibrationData
from .detection_calibration import MatchedDetections, match_image
from .detection_quality import DetectionQuality, detection_quality
from .gaussian_mixtures import MixtureScores

_MIXTURE = ('box_mixture_means', 'box_mixture_stds', 'box_mixture_weights')
_FIELDS = ('bboxes', 'labels', 'scores', 'box_std', *_MIXTURE)


@METRICS.register_module()
class CalibrationMetric(BaseMetric):
    """How far scores and box intervals can be trusted.

    Detections are matched to objects as COCO does it. Crowds and other
    ignored objects are left out, with the detections that found but these.
    The results:

    - ``detections`` and ``matched``: how many there are, and how many of
      these found an object.
    - ``ece``: expected calibration error of the scores, in [0, 1] (D-ECE of
      scores alone).
    - ``overconfidence``: mean score minus the share that found an object.
    - ``laece`` and ``laace``: LaECE_0 and LaACE_0, the distance of scores
      from IoUs, in [0, 1].
    - ``d_ece_position`` and ``d_ece_size``: D-ECE over score and centre, and
      over score, width and height, in [0, 1].
    - ``olrp``, ``olrp_loc``, ``olrp_fp`` and ``olrp_fn``: optimal LRP error
      and its components, means over classes in [0, 1].
    - ``box_nll``: mean negative log likelihood of a coordinate, in nats, and
      ``box_crps``: its continuous ranked probability score, in pixels.
    - ``coverage_50``, ``coverage_90``, ``coverage_95``: shares of the
      coordinates inside their intervals, in [0, 1].
    - ``box_std``: mean predicted standard deviation of a coordinate, and
      ``box_rmse``: the root mean square of its error, in pixels.
    - ``mixture_nll``, ``mixture_crps``, ``mixture_coverage_50`` and so on: as
      above, of the mixtures themselves instead of Gaussians with their means
      and variances. Of heads with ``test_cfg.box_mixture=True``.
    - ``pdq``, ``pdq_spatial`` and ``pdq_label``: probability-based detection
      quality, and its factors' means over pairs, in [0, 1].

    Those of boxes are of detections that found an object, and only of heads
    that give ``box_std``, a Gaussian's. Numbers without any detection (or
    object) that they could be of are left out.

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
        pdq (bool): Whether to compute PDQ, whose heat maps take a few
            milliseconds a detection. Boxes without ``box_std`` count as
            certain.
        pdq_score_thr (float): The lowest score of a detection that counts for
            PDQ, if it is above ``score_thr``. Each that has no object costs.
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
                 pdq: bool = False,
                 pdq_score_thr: float = 0.5,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        check_bins(bins)
        check_levels(levels)
        for name, threshold in (('score_thr', score_thr),
                                ('pdq_score_thr', pdq_score_thr)):
            if not 0 <= threshold < 1:
                raise ValueError(f'CalibrationMetric: {name} is {threshold}: '
                                 'give a number in [0, 1).')
        if not 0 < iou_thr <= 1:
            raise ValueError(f'CalibrationMetric: iou_thr is {iou_thr}: give '
                             'a number in (0, 1].')
        self.bins = bins
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.levels = tuple(levels)
        self.pdq = pdq
        self.pdq_score_thr = pdq_score_thr
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
                if k in _FIELDS
            }
            keep = detections['scores'] >= self.score_thr
            detections = {k: v[keep] for k, v in detections.items()}
            if self._truth is not None:
                classes = (self.dataset_meta or {}).get('classes', ())
                truth = self._truth.of(sample['img_id'], classes)
            else:
                truth = packed_truth(sample)
            self.results.append(
                self._compared(detections, truth, sample.get('ori_shape')))

    def _compared(self, detections: dict[str, np.ndarray],
                  truth: tuple[np.ndarray, np.ndarray, np.ndarray],
                  shape: Optional[tuple[int, int]]) -> CalibrationData:
        """The detections of an image of this shape, (h, w), and the truth."""
        true_boxes = truth[0]
        size = None if shape is None else (shape[1], shape[0])
        args = (*(detections[k] for k in ('bboxes', 'labels', 'scores')),
                *truth)
        match = match_to_truth(*args, self.iou_thr)
        counted, hits = match != IGNORED, match > FALSE_ALARM
        data = CalibrationData(
            confidences=detections['scores'][counted].astype(np.float64),
            correct=hits[counted],
            matches=MatchedDetections.of(match, *args, size),
            overlaps=match_image(*args, iou_thr=0))
        # the heads of most detectors predict no deviation
        if 'box_std' in detections:
            data.errors = true_boxes[match[hits]] - detections['bboxes'][hits]
            data.stds = detections['box_std'][hits].astype(np.float64)
        if all(name in detections for name in _MIXTURE):
            data.mixtures = MixtureScores.of(
                true_boxes[match[hits]],
                *(detections[name][hits] for name in _MIXTURE))
        if self.pdq:
            data.quality = self._quality(
                {k: v[counted] for k, v in detections.items()}, truth, size)
        return data

    def _quality(self, detections: dict[str, np.ndarray],
                 truth: tuple[np.ndarray, np.ndarray, np.ndarray],
                 size: Optional[tuple[int, int]]) -> DetectionQuality:
        """PDQ's pairs of the detections that are not on ignored objects."""
        if size is None:
            raise ValueError(
                'CalibrationMetric: the samples have no ori_shape, but pdq '
                'needs the size of images: put it into meta_keys of '
                'PackDetInputs, or set pdq to False.')
        sure = detections['scores'] >= self.pdq_score_thr
        detections = {k: v[sure] for k, v in detections.items()}
        boxes = detections['bboxes']
        stds = detections.get('box_std', np.zeros_like(boxes))
        true_boxes, true_labels, ignored = truth
        return detection_quality(boxes, stds, detections['labels'],
                                 detections['scores'], true_boxes[~ignored],
                                 true_labels[~ignored], size)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See the class; keys without the prefix."""
        numbers = CalibrationData.join(results).summary(
            self.bins, self.levels, self.iou_thr)
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

"""Fits a calibration on some images and measures it on others."""
from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Optional

import numpy as np
import torch
from mmdet.datasets.api_wrappers import COCO, COCOeval
from torch import nn
from tqdm import tqdm

from mmal.calibration import (
    METHODS,
    Calibration,
    ConformalBoxes,
    ScoreCalibrator,
    coverage_band,
    highest_level,
)
from mmal.evaluation import (
    MatchedDetections,
    detection_ece,
    laace,
    laece,
    match_image,
    match_to_truth,
)
from mmal.evaluation.calibration import FALSE_ALARM
from mmal.evaluation.calibration_metric import CocoTruth, packed_truth
from mmal.reporting.posthoc import plot_posthoc
from .calibration import (
    plain_samples,
    read_predictions,
    truth_file,
    validation_loader,
)

TARGETS = ('iou', 'found')
_EVERY_CLASS = np.iinfo(np.int64).max  # detections: no class has so many


@dataclass
class ImageDetections:
    """What was found on an image, and what is there.

    Args:
        boxes (np.ndarray): float64 [n, 4], x1, y1, x2, y2 in pixels of the
            original image.
        labels (np.ndarray): int64 [n].
        scores (np.ndarray): [n] in [0, 1].
        stds (np.ndarray, optional): [n, 4], predicted, in pixels.
        true_boxes (np.ndarray): float64 [t, 4].
        true_labels (np.ndarray): int64 [t].
        ignored (np.ndarray): bool [t], crowds and the like.
    """
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    stds: Optional[np.ndarray]
    true_boxes: np.ndarray
    true_labels: np.ndarray
    ignored: np.ndarray

    @property
    def truth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True boxes, their labels, and which to ignore."""
        return self.true_boxes, self.true_labels, self.ignored

    def above(self, score_thr: float) -> ImageDetections:
        """With the detections of at least this score."""
        kept = self.scores >= score_thr
        return replace(
            self, boxes=self.boxes[kept], labels=self.labels[kept],
            scores=self.scores[kept],
            stds=None if self.stds is None else self.stds[kept])


@dataclass
class FitOptions:
    """How a calibration is fitted.

    Args:
        method (str): One of :data:`mmal.calibration.METHODS`.
        target (str): What a score should be: 'iou', the expected IoU with the
            object found, 0 for a false alarm; or 'found', the chance to find
            one.
        iou_thr (float): IoU from which an object is found, for scores; 0 for
            any overlap.
        score_thr (float): Lowest score of a detection that counts.
        level (float): Of boxes, see :class:`~mmal.calibration.ConformalBoxes`.
        rule (str): Of boxes.
        scaled (bool, optional): Whether margins follow the predicted standard
            deviation; by default, where there is one.
        box_iou_thr (float): IoU from which an object is found, for boxes.
        min_count (int, optional): Of detections of a class with a function
            and margins of its own; None for no such class.
    """
    method: str = 'isotonic'
    target: str = 'iou'
    iou_thr: float = 0.0
    score_thr: float = 0.05
    level: float = 0.9
    rule: str = 'box'
    scaled: Optional[bool] = None
    box_iou_thr: float = 0.5
    min_count: Optional[int] = 30

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f'calibration: the target is {self.target!r}: '
                             f'choose one of {", ".join(TARGETS)}.')

    @property
    def least(self) -> int:
        """``min_count`` as a number."""
        return _EVERY_CLASS if self.min_count is None else self.min_count


@torch.no_grad()
def detections_of_model(model: nn.Module,
                        ann_file: Optional[str] = None,
                        progress: bool = True
                        ) -> tuple[list[ImageDetections], list[str]]:
    """Detect on the validation images of a detector's config.

    Args:
        model (nn.Module): In eval mode with its config as ``cfg``.
        ann_file (str, optional): COCO file of the truth; by default
            ``val_evaluator.ann_file``, or the samples' own boxes.
        progress (bool): Whether there is a progress bar.

    Returns:
        tuple: N images, and the names of the classes.

    Raises:
        ValueError: If the config has no validation images, or they come
            without their boxes.
    """
    loader = validation_loader(model.cfg)
    classes = list(loader.dataset.metainfo['classes'])
    ann_file = ann_file or truth_file(model.cfg)
    truth = CocoTruth(ann_file) if ann_file else None
    images = []
    for batch in tqdm(loader, 'detecting', disable=not progress):
        images += [_image(sample, truth, classes)
                   for sample in plain_samples(model.val_step(batch))]
    return images, classes


def detections_of_file(path: str, ann_file: str
                       ) -> tuple[list[ImageDetections], list[str]]:
    """Read what mmdet's ``tools/test.py --out`` has written.

    Args:
        path (str): A ``.pkl`` file. Reading one can run code that is in it:
            give none that others made.
        ann_file (str): COCO file of the truth; its classes, in order, are the
            labels.

    Returns:
        tuple: N images, and the names of the classes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no predictions.
    """
    truth = CocoTruth(ann_file)
    classes = [c['name'] for c in truth.coco.dataset['categories']]
    images = [_image(sample, truth, classes)
              for sample in plain_samples(read_predictions(path))]
    return images, classes


def _image(sample: Mapping, truth: Optional[CocoTruth],
           classes: Sequence[str]) -> ImageDetections:
    found = {name: value.detach().cpu().numpy()
             for name, value in sample['pred_instances'].items()
             if name in ('bboxes', 'labels', 'scores', 'box_std')}
    stds = found.get('box_std')
    if stds is None and not len(found['labels']):
        stds = np.zeros((0, 4))  # heads leave it out of nothing
    return ImageDetections(
        found['bboxes'].astype(np.float64), found['labels'], found['scores'],
        stds, *(packed_truth(sample) if truth is None else
                truth.of(sample['img_id'], classes)))


def split_images(images: Sequence[ImageDetections], share: float,
                 seed: int) -> tuple[list, list]:
    """Divide images at random.

    Args:
        images (sequence[ImageDetections]): N.
        share (float): Of the first part, in (0, 1).
        seed (int): Same seed, same parts.

    Raises:
        ValueError: If a part would be empty.
    """
    first = round(share * len(images))
    if not 0 < first < len(images):
        raise ValueError(
            f'calibration: {share:g} of {len(images)} images leave a part '
            'empty: give more images, or another --split.')
    order = np.random.default_rng(seed).permutation(len(images))
    return ([images[i] for i in order[:first]],
            [images[i] for i in order[first:]])


def fit_calibration(images: Sequence[ImageDetections],
                    classes: Sequence[str],
                    options: FitOptions) -> Calibration:
    """Fit scores and margins of boxes to detections.

    Raises:
        ImportError: Without scikit-learn, for most methods.
        ValueError: If there are too few detections.
    """
    boxes = matched_boxes(images, options)
    if options.scaled and boxes.stds is None:
        raise ValueError('calibration: this detector does not predict '
                         'box_std: its boxes can have margins in pixels only.')
    scaled = boxes.stds is not None and options.scaled is not False
    return Calibration(
        classes,
        _fit_scores(_matched(images, options), classes, options),
        ConformalBoxes.fit(
            boxes.errors, boxes.labels, len(classes),
            boxes.stds if scaled else None, options.level, options.rule,
            options.least),
        about=dict(images=len(images), target=options.target,
                   iou_thr=options.iou_thr, score_thr=options.score_thr,
                   box_iou_thr=options.box_iou_thr))


def _matched(images: Sequence[ImageDetections],
             options: FitOptions) -> MatchedDetections:
    return matched_scores(images, options.score_thr, options.iou_thr)


def _fit_scores(found: MatchedDetections, classes: Sequence[str],
                options: FitOptions) -> ScoreCalibrator:
    targets = found.ious if options.target == 'iou' else found.matched
    return ScoreCalibrator.fit(options.method, found.scores, targets,
                               found.labels, len(classes), options.least)


def matched_scores(images: Iterable[ImageDetections], score_thr: float,
                   iou_thr: float) -> MatchedDetections:
    """Scores of all images beside the IoUs with the objects found."""
    kept = [image.above(score_thr) for image in images]
    return MatchedDetections.join(
        match_image(i.boxes, i.labels, i.scores, *i.truth, iou_thr=iou_thr)
        for i in kept)


@dataclass
class MatchedBoxes:
    """Detections that found an object.

    Args:
        errors (np.ndarray): float64 [m, 4], edges of the objects minus those
            of the detections, in pixels.
        labels (np.ndarray): int64 [m].
        stds (np.ndarray, optional): [m, 4], predicted.
    """
    errors: np.ndarray
    labels: np.ndarray
    stds: Optional[np.ndarray]

    def covered(self, fitted: ConformalBoxes) -> np.ndarray:
        """Whether each edge is inside its margins, bool [m, 4]."""
        return np.abs(self.errors) <= self.margins(fitted)

    def margins(self, fitted: ConformalBoxes) -> np.ndarray:
        """[m, 4] in pixels."""
        stds = None if self.stds is None else torch.from_numpy(
            self.stds.astype(np.float64))
        return fitted.margins(torch.from_numpy(self.labels), stds).numpy()


def matched_boxes(images: Iterable[ImageDetections],
                  options: FitOptions) -> MatchedBoxes:
    """Boxes of all images beside those of the objects found."""
    errors, labels, stds = [np.zeros((0, 4))], [np.zeros(0, np.int64)], []
    for image in images:
        image = image.above(options.score_thr)
        match = match_to_truth(image.boxes, image.labels, image.scores,
                               *image.truth, options.box_iou_thr)
        hits = match > FALSE_ALARM
        errors.append(image.true_boxes[match[hits]] - image.boxes[hits])
        labels.append(image.labels[hits])
        stds.append(None if image.stds is None else image.stds[hits])
    known = len(stds) and all(s is not None for s in stds)
    return MatchedBoxes(np.concatenate(errors), np.concatenate(labels),
                        np.concatenate(stds) if known else None)


@dataclass
class ScoreQuality:
    """Scores of held out images.

    Args:
        laece (float): Localisation-aware calibration error, in [0, 1].
        laace (float): The same without bins.
        d_ece (float): Detection calibration error, at an IoU of 0.5.
        ap (float): COCO's AP, in [0, 1]; -1 without objects.
    """
    laece: float
    laace: float
    d_ece: float
    ap: float


@dataclass
class BoxQuality:
    """Margins of detections of held out images that found an object.

    Args:
        fitted (int): Detections that the margins were fitted to.
        measured (int): Detections they were measured on, m.
        coverage (float): Share that is covered: of boxes, or of edges with
            the rule 'coordinate'. NaN if m is 0.
        width (float): Mean width of an edge's interval, in pixels.
        band (tuple[float, float]): Where the coverage is with 95%, were
            detections exchangeable; NaN where nothing was fitted or measured,
            and with other rules than 'box'.
    """
    fitted: int
    measured: int
    coverage: float
    width: float
    band: tuple[float, float]


def compare_scores(fitting: Sequence[ImageDetections],
                   held_out: Sequence[ImageDetections],
                   classes: Sequence[str],
                   options: FitOptions) -> dict[str, ScoreQuality]:
    """Quality of the raw scores, 'none', and by each method.

    All are measured on the same detections of the images held out: those
    whose raw score is at least ``options.score_thr``; AP, on all.
    """
    data = _matched(fitting, options)
    overlaps, halves = (matched_scores(held_out, options.score_thr, thr)
                        for thr in (options.iou_thr, 0.5))
    results = {}
    for method in ('none', *METHODS):
        calibrator = None if method == 'none' else _fit_scores(
            data, classes, replace(options, method=method))
        after = replace(overlaps, scores=calibrated(calibrator, overlaps))
        results[method] = ScoreQuality(
            laece(after), laace(after),
            detection_ece(calibrated(calibrator, halves), halves.matched),
            average_precision(held_out, len(classes), calibrator))
    return results


def calibrated(calibrator: Optional[ScoreCalibrator], found) -> np.ndarray:
    """``scores`` [n] of detections with ``labels``; raw ones by None."""
    scores = np.asarray(found.scores, np.float64)
    if calibrator is None:
        return scores
    return calibrator(torch.from_numpy(scores),
                      torch.from_numpy(found.labels)).numpy()


def compare_boxes(fitting: Sequence[ImageDetections],
                  held_out: Sequence[ImageDetections],
                  classes: Sequence[str],
                  options: FitOptions) -> dict[str, dict[str, BoxQuality]]:
    """Coverage of margins in pixels, and of scaled ones if there are stds.

    Returns:
        dict: 'pixels' and 'scaled' -> 'all' and each class -> its quality.
    """
    return _compare_boxes(matched_boxes(fitting, options),
                          matched_boxes(held_out, options), classes, options)


def _compare_boxes(data: MatchedBoxes, truth: MatchedBoxes,
                   classes: Sequence[str],
                   options: FitOptions) -> dict[str, dict[str, BoxQuality]]:
    kinds = dict(pixels=None)
    if data.stds is not None and truth.stds is not None:
        kinds['scaled'] = data.stds
    results = {}
    for kind, stds in kinds.items():
        fitted = ConformalBoxes.fit(
            data.errors, data.labels, len(classes), stds, options.level,
            options.rule, options.least)
        parts = {'all': (slice(None), slice(None))}
        parts.update((name, (data.labels == label, truth.labels == label))
                     for label, name in enumerate(classes))
        covered, margins = truth.covered(fitted), truth.margins(fitted)
        covered = covered.mean(1) if options.rule == 'coordinate' else \
            covered.all(1)
        results[kind] = {
            name: _box_quality(len(data.labels[of_data]), covered[of_truth],
                               margins[of_truth], options)
            for name, (of_data, of_truth) in parts.items()}
    return results


def _box_quality(fitted: int, covered: np.ndarray, margins: np.ndarray,
                 options: FitOptions) -> BoxQuality:
    measured = len(covered)
    return BoxQuality(
        fitted, measured,
        float(covered.mean()) if measured else float('nan'),
        float(2 * margins.mean()) if measured else float('nan'),
        _band(fitted, measured, options))


def _band(fitted: int, measured: int,
          options: FitOptions) -> tuple[float, float]:
    """Of the coverage; known for the rule 'box' alone."""
    if options.rule != 'box' or not measured or \
            options.level > highest_level(fitted):
        return float('nan'), float('nan')
    return coverage_band(fitted, options.level, measured)


def plot_split(fitting: Sequence[ImageDetections],
               held_out: Sequence[ImageDetections],
               classes: Sequence[str],
               options: FitOptions,
               path: str) -> str:
    """Draw the scores and boxes of the images held out.

    Args:
        fitting (sequence[ImageDetections]): What is fitted.
        held_out (sequence[ImageDetections]): What is drawn.
        classes (sequence[str]): C names.
        options (FitOptions): How it is fitted.
        path (str): A png file.

    Returns:
        str: ``path``.
    """
    calibrator = _fit_scores(_matched(fitting, options), classes, options)
    found = _matched(held_out, options)
    scores = {'before': calibrated(None, found),
              options.method: calibrated(calibrator, found)}
    boxes = [matched_boxes(part, options) for part in (fitting, held_out)]
    counts = [len(part.labels) for part in boxes]
    levels = np.linspace(0.05, 0.95, 19)
    levels = levels[levels <= highest_level(counts[0], options.rule)]
    return plot_posthoc(
        scores, found.ious if options.target == 'iou' else found.matched,
        levels, coverage_curves(*boxes, classes, options, levels),
        [_band(*counts, replace(options, level=level)) for level in levels],
        options.target, path)


def coverage_curves(data: MatchedBoxes, truth: MatchedBoxes,
                    classes: Sequence[str], options: FitOptions,
                    levels: Sequence[float]) -> dict[str, list[float]]:
    """Coverage of all boxes at several levels.

    Args:
        data (MatchedBoxes): What margins are fitted to.
        truth (MatchedBoxes): What they are measured on.
        classes (sequence[str]): C names.
        options (FitOptions): But for the level.
        levels (sequence[float]): L in (0, 1).

    Returns:
        dict: 'pixels' and 'scaled' as :func:`compare_boxes`; with stds, also
        'predicted', all four edges inside the intervals of independent
        Gaussians with the predicted deviations.
    """
    curves = {}
    for level in levels:
        results = _compare_boxes(data, truth, classes,
                                 replace(options, level=level))
        for kind, parts in results.items():
            curves.setdefault(kind, []).append(parts['all'].coverage)
    if truth.stds is not None and len(truth.labels):
        z = np.abs(truth.errors) / np.maximum(truth.stds, 1e-3)
        edges = 1 if options.rule == 'coordinate' else 4
        widths = [NormalDist().inv_cdf((1 + level**(1 / edges)) / 2)
                  for level in levels]
        inside = [z <= width for width in widths]
        curves['predicted'] = [
            float(i.mean() if edges == 1 else i.all(1).mean())
            for i in inside]
    return curves


def average_precision(images: Sequence[ImageDetections], num_classes: int,
                      calibrator: Optional[ScoreCalibrator] = None) -> float:
    """COCO's AP over IoUs of 0.50 to 0.95.

    Args:
        images (sequence[ImageDetections]): N.
        num_classes (int): C.
        calibrator (ScoreCalibrator, optional): Of the scores.

    Returns:
        float: In [0, 1]; -1 without objects.
    """
    def records(image: int, boxes: np.ndarray, labels: np.ndarray, **more):
        sizes = boxes[:, 2:] - boxes[:, :2]
        rows = np.concatenate([boxes[:, :2], sizes], 1).tolist()
        for k, (row, label) in enumerate(zip(rows, labels.tolist())):
            yield dict(image_id=image, category_id=label, bbox=row,
                       area=row[2] * row[3],
                       **{name: v[k].item() for name, v in more.items()})

    objects = [o for n, i in enumerate(images) for o in records(
        n, i.true_boxes, i.true_labels, iscrowd=i.ignored.astype(int))]
    for number, record in enumerate(objects, 1):
        record['id'] = number
    found = [d for n, i in enumerate(images) for d in records(
        n, i.boxes, i.labels, score=calibrated(calibrator, i))]
    if not found or not objects:
        return 0.0 if objects else -1.0
    with redirect_stdout(io.StringIO()):  # pycocotools talks
        truth = COCO()
        truth.dataset = dict(
            images=[dict(id=n) for n in range(len(images))],
            annotations=objects,
            categories=[dict(id=c, name=str(c)) for c in range(num_classes)])
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])

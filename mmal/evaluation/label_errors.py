"""Boxes that may be labelled wrongly: what is given against what is predicted.

Three kinds, as errors of detectors are told apart in Bolya et al., "TIDE: A
General Toolbox for Identifying Object Detection Errors" (ECCV 2020), with the
labels in the place of the detector: an object that has no box, a box that has
another class, and a box that lies badly. Predictions have to come from a
detector that was not trained on these labels, or it repeats their errors.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

KINDS = ('overlooked', 'class', 'badly placed')
# Two boxes are of the same object from this IoU on, as in PASCAL VOC's AP.
SAME = 0.5
# A prediction that covers so little of a box says nothing of where that is.
NEAR = 0.1
# As many right and wrong predictions each score is given before any is seen.
_PRIOR = 1.0
# Part of the score itself, for the order within a step.
_SLOPE = 0.1


@dataclass(frozen=True)
class BoxTable:
    """Boxes of many images, n in all.

    Args:
        images (np.ndarray): int [n], a number for the image of each box.
        classes (np.ndarray): int [n].
        boxes (np.ndarray): [n, 4], x, y, width and height in pixels.
        scores (np.ndarray, optional): [n] in [0, 1], of predictions.
        crowds (np.ndarray, optional): bool [n], regions of given boxes in
            which objects are not drawn one by one. Default: none.

    Raises:
        ValueError: If the lengths differ.
    """
    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: Optional[np.ndarray] = None
    crowds: Optional[np.ndarray] = None

    def __post_init__(self) -> None:
        number = len(self.images)
        as_arrays = dict(
            images=np.asarray(self.images, np.int64),
            classes=np.asarray(self.classes, np.int64),
            boxes=np.asarray(self.boxes, np.float64).reshape(-1, 4),
            scores=np.ones(number) if self.scores is None else
            np.asarray(self.scores, np.float64),
            crowds=np.zeros(number, bool) if self.crowds is None else
            np.asarray(self.crowds, bool))
        for name, value in as_arrays.items():
            if len(value) != number:
                raise ValueError(f'{number} images of boxes, but {len(value)} '
                                 f'{name}: each box needs one.')
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Suspects:
    """What may be wrong, the most suspicious first, s in all.

    Args:
        kinds (np.ndarray): Text [s], one of ``KINDS``.
        given (np.ndarray): int [s], which given box; -1 of an overlooked one.
        predicted (np.ndarray): int [s], the prediction that contradicts.
        values (np.ndarray): float64 [s] in (0, 1], how suspicious.
        overlaps (np.ndarray): float64 [s], IoU of the two boxes; of an
            overlooked one the largest with any given box.
    """
    kinds: np.ndarray
    given: np.ndarray
    predicted: np.ndarray
    values: np.ndarray
    overlaps: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)

    def of(self, kind: str) -> Suspects:
        """Those of one kind."""
        at = self.kinds == kind
        return Suspects(self.kinds[at], self.given[at], self.predicted[at],
                        self.values[at], self.overlaps[at])


def find_suspects(given: BoxTable, predicted: BoxTable) -> Suspects:
    """Rank given boxes, and predictions without one, by how suspicious they
    are.

    A prediction is believed with the probability t that predictions of its
    class and score are right by these very labels, most of which are right.
    Predictions and boxes of one class that overlap by 0.5 are the same object,
    and paired one to one, the surest prediction first. A box is doubted with
    the probability that the prediction it is paired with is wrong; with 1 if
    it has none.

    - *Overlooked*: a prediction that is no duplicate, and overlaps no given
      box by 0.5 nor explains one that is badly placed: t · (1 − the largest
      IoU with a given box). Inside a crowd region nothing is overlooked.
    - *Class*: predictions of another class that overlap the box by 0.5:
      t · IoU · doubt.
    - *Badly placed*: t · (1 − IoU) with the prediction the box is paired
      with. One that is doubted by 0.5 is paired with a prediction instead
      that is free and overlaps by 0.1: t · (1 − IoU) · doubt.

    Time and memory are O(pairs of a given and a predicted box of one image).

    Args:
        given (BoxTable): The labels.
        predicted (BoxTable): Detections after NMS, with their scores.

    Returns:
        Suspects: A given box may be there twice, with two kinds.
    """
    g, p, iou, inside = _pairs(given, predicted)
    crowd = given.crowds[g]
    ignored = np.zeros(len(predicted), bool)
    ignored[p[crowd & (inside > 0.5)]] = True
    g, p, iou = g[~crowd], p[~crowd], iou[~crowd]
    same_class = given.classes[g] == predicted.classes[p]

    # the surest prediction first, as AP pairs them: by overlap alone a box
    # would be confirmed by whatever noise lies on it
    paired = _one_to_one(g, p, predicted.scores[p] + 1e-6 * iou,
                         same_class & (iou >= SAME))
    is_right = np.zeros(len(predicted), bool)
    is_right[p[paired]] = True
    trust = _trust(predicted, is_right, ~ignored)
    doubt = np.ones(len(given))
    doubt[g[paired]] -= trust[p[paired]]

    # the strongest prediction of another class at each box
    value = trust[p] * iou * doubt[g]
    wrong = np.flatnonzero(~same_class & (iou >= SAME))
    wrong = wrong[np.lexsort((-value[wrong], g[wrong]))]
    wrong = wrong[np.unique(g[wrong], return_index=True)[1]]

    # boxes that nothing confirms, and free predictions not far away
    largest = np.zeros(len(predicted))
    np.maximum.at(largest, p, iou)
    is_free = (largest < SAME) & ~ignored
    near = _one_to_one(g, p, trust[p] * iou * doubt[g], same_class &
                       is_free[p] & (doubt[g] >= 0.5) & (iou >= NEAR))
    certain = np.ones(len(g))
    certain[near] = doubt[g[near]]
    placed = np.concatenate([near, paired])
    placed = placed[np.unique(g[placed], return_index=True)[1]]
    is_free[p[near]] = False
    free = np.flatnonzero(is_free)

    parts = (
        ('overlooked', np.full(len(free), -1), free,
         trust[free] * (1 - largest[free]), largest[free]),
        ('class', g[wrong], p[wrong], value[wrong], iou[wrong]),
        ('badly placed', g[placed], p[placed],
         trust[p[placed]] * (1 - iou[placed]) * certain[placed],
         iou[placed]))
    kinds = np.repeat(KINDS, [len(part[1]) for part in parts])
    columns = [np.concatenate([part[i] for part in parts])
               for i in range(1, 5)]
    # the sort is stable, and the order of the boxes decides on equal values
    order = np.argsort(-columns[2], kind='stable')
    order = order[columns[2][order] > 0]
    return Suspects(kinds[order], *(column[order] for column in columns))


def _pairs(given: BoxTable, predicted: BoxTable) -> tuple[np.ndarray, ...]:
    """Every given box with every prediction of its image: two indices, their
    IoU, and the share of the prediction that lies inside the box."""
    order = np.argsort(given.images, kind='stable')
    images, start, count = np.unique(
        given.images[order], return_index=True, return_counts=True)
    at = np.searchsorted(images, predicted.images)
    at = np.minimum(at, max(len(images) - 1, 0))
    if len(images):
        partners = np.where(images[at] == predicted.images, count[at], 0)
        first = start[at]
    else:
        partners = first = np.zeros(len(predicted), np.int64)
    p = np.repeat(np.arange(len(predicted)), partners)
    begin = np.cumsum(partners) - partners
    g = order[np.arange(len(p)) - begin[p] + first[p]] if len(p) else p

    a, b = given.boxes[g], predicted.boxes[p]
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = (high - low).clip(min=0).prod(1)
    area_a, area_b = a[:, 2:].prod(1), b[:, 2:].prod(1)
    union = area_a + area_b - shared
    iou, inside = (np.divide(shared, whole, out=np.zeros_like(shared),
                             where=whole > 0) for whole in (union, area_b))
    return g, p, iou, inside


def _one_to_one(g: np.ndarray, p: np.ndarray, value: np.ndarray,
                allowed: np.ndarray) -> np.ndarray:
    """Which of the pairs are chosen if the largest value is always taken
    first and both of its boxes are used up.

    A pair that is the largest of both its boxes is chosen whatever becomes of
    the others: all such pairs are taken at once, until none is left.
    """
    left = np.flatnonzero(allowed)
    left = left[np.argsort(-value[left], kind='stable')]
    chosen = []
    while len(left):
        # np.unique gives the first of each, which is the largest
        best_g, best_p = (np.zeros(len(left), bool) for _ in range(2))
        best_g[np.unique(g[left], return_index=True)[1]] = True
        best_p[np.unique(p[left], return_index=True)[1]] = True
        new = left[best_g & best_p]
        chosen.append(new)
        left = left[~np.isin(g[left], g[new]) & ~np.isin(p[left], p[new])]
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def _trust(predicted: BoxTable, is_right: np.ndarray,
           counts: np.ndarray) -> np.ndarray:
    """How probable it is that predictions of a class and a score are right.

    The least squares fit that does not fall with the score (isotonic
    regression), of each class on its own, with a prior of one right and one
    wrong prediction in each step. O(P log P) of P predictions.
    """
    from scipy.optimize import isotonic_regression  # imported when needed
    trust = predicted.scores.copy()
    for label in np.unique(predicted.classes):
        own = np.flatnonzero((predicted.classes == label) & counts)
        if not len(own):
            continue
        _, step, count = np.unique(
            predicted.scores[own], return_inverse=True, return_counts=True)
        right = np.bincount(step, is_right[own])
        blocks = isotonic_regression(right / count, weights=count).blocks
        level = (np.add.reduceat(right, blocks[:-1]) + _PRIOR) / (
            np.add.reduceat(count, blocks[:-1]) + 2 * _PRIOR)
        # the prior pulls small steps down or up, out of order
        level = np.repeat(np.maximum.accumulate(level), np.diff(blocks))
        trust[own] = _SLOPE * trust[own] + (1 - _SLOPE) * level[step]
    return trust

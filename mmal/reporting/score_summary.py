"""What the scores of a query say about the images that it chose."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from mmal.scores import Scores
from mmal.types import ImageId

BINS = 40
_CLASSES_SHOWN = 3


@dataclass(frozen=True)
class ScoreSummary:
    """The scores of N candidates, as a page shows them.

    Args:
        candidates (int): N.
        without (int): How many have no finite score.
        edges (list[float]): Borders of the B bins of the histogram; empty
            without a finite score.
        chosen (list[int]): B counts of chosen images.
        others (list[int]): B counts of the others.
        cut (float, optional): The lowest score chosen, where the chosen are
            the highest scores; None where an image with a higher one was not
            chosen.
        places (dict[int | str, int]): Of each chosen image with a finite
            score, 1 plus the number of higher scores.
        parts (dict[int | str, list[tuple[str, float]]]): What else the scorer
            wrote of each chosen image.
    """
    candidates: int
    without: int = 0
    edges: list[float] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    cut: Optional[float] = None
    places: Mapping[ImageId, int] = field(default_factory=dict)
    parts: Mapping[ImageId, list[tuple[str, float]]] = field(
        default_factory=dict)


def summarise_scores(scores: Scores, chosen: Sequence[ImageId],
                     classes: Sequence[str]) -> ScoreSummary:
    """Places, histogram and parts; costs a sort of the N scores.

    Args:
        scores (Scores): Of N candidates.
        chosen (sequence[int | str]): Those that were chosen; others than
            candidates are passed over.
        classes (sequence[str]): C names: a column of the shape [N, C] has a
            value of each, the highest of which are shown.
    """
    index = {image: i for i, image in enumerate(scores.ids)}
    rows = np.array([index[i] for i in chosen if i in index], dtype=np.int64)
    values = scores.values
    is_finite = np.isfinite(values)
    is_chosen = np.zeros(len(values), dtype=bool)
    is_chosen[rows] = True
    ranked = rows[is_finite[rows]]

    finite = np.sort(values[is_finite])
    higher = len(finite) - np.searchsorted(finite, values[ranked], 'right')
    places = {scores.ids[row]: int(n) + 1
              for row, n in zip(ranked.tolist(), higher.tolist())}

    edges, counts, cut = [], ([], []), None
    if len(finite):
        low, high = float(finite[0]), float(finite[-1])
        high = high if high > low else low + 1
        # numbers whose differences vanish, or overflow, have no bins
        borders = np.linspace(low, high, BINS + 1) if math.isfinite(
            high - low) else np.zeros(2)
        if (np.diff(borders) > 0).all():
            edges = borders.tolist()
            counts = [np.histogram(values[is_finite & part], borders)[0]
                      .tolist() for part in (is_chosen, ~is_chosen)]
        others = values[is_finite & ~is_chosen]
        if len(ranked) and (not len(others)
                            or values[ranked].min() >= others.max()):
            cut = float(values[ranked].min())
    return ScoreSummary(
        len(values), int((~is_finite).sum()), edges, *counts, cut, places,
        _parts(scores, rows, classes))


def _parts(scores: Scores, rows: np.ndarray, classes: Sequence[str]
           ) -> dict[ImageId, list[tuple[str, float]]]:
    parts = {scores.ids[row]: [] for row in rows.tolist()}
    for name, column in scores.columns.items():
        column = np.asarray(column)
        # of a combined score each part has a column beside this one
        is_score = name.rpartition('.')[2] == 'score'
        if column.dtype.kind not in 'biuf' or is_score:
            continue
        spoken = name.replace('_', ' ').replace('.', ': ')
        if column.ndim == 1:
            for row in rows.tolist():
                parts[scores.ids[row]].append((spoken, float(column[row])))
        elif column.ndim == 2 and column.shape[1] == len(classes):
            for row in rows.tolist():
                highest = np.argsort(-column[row], kind='stable')
                parts[scores.ids[row]] += [
                    (f'{spoken}: {classes[c]}', float(column[row, c]))
                    for c in highest[:_CLASSES_SHOWN].tolist()]
    return {image: [(name, value) for name, value in values
                    if np.isfinite(value)]
            for image, values in parts.items()}

"""Scores of detections as the IoU, or the chance, that they stand for.

Temperature: Guo et al., "On Calibration of Modern Neural Networks" (ICML
2017), section 4; Platt: "Probabilistic Outputs for Support Vector Machines"
(1999); isotonic regression: Zadrozny & Elkan, "Transforming Classifier Scores
into Accurate Multiclass Probability Estimates" (KDD 2002). As what a detector
should say the IoU of its boxes: Kuzucu et al., "On Calibration of Object
Detectors: Pitfalls, Evaluation and Baselines" (ECCV 2024).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from mmal.uncertainty import at_least_float32

METHODS = ('isotonic', 'platt', 'temperature')

# The numbers that one class has by each method.
_KEYS = dict(
    isotonic=('scores', 'values'), platt=('a', 'b'), temperature=('T', ))
_LARGEST_LOGIT = 15.0  # of a score of 1 - 3e-7
_LOG_T = 5.0  # temperatures are looked for in [exp(-5), exp(5)]
# Isotonic regression has plateaus. This slope keeps the order on them, over
# all images, so that AP stays what it was; it moves a score by 0.001 at most.
_SLOPE = 1e-3


class ScoreCalibrator:
    """One increasing function of the score for each class.

    - ``temperature``: sigmoid(logit / T),
    - ``platt``: sigmoid(a · logit + b) with a > 0,
    - ``isotonic``: linear between knots, constant outside; mixed with 0.001
      of the score itself, which keeps the order where it is constant.

    Args:
        method (str): One of :data:`METHODS`.
        pooled (mapping): Numbers of the function for all classes together:
            ``T``; ``a`` and ``b``; or ``scores`` and ``values`` [M], the
            knots.
        by_class (sequence[mapping | None]): The same of each of C classes;
            None where ``pooled`` serves.

    Raises:
        ValueError: If a number is missing, not finite or out of order.

    Examples:
        >>> halved = ScoreCalibrator('isotonic', dict(
        ...     scores=[0.0, 1.0], values=[0.0, 0.5]), [None])
        >>> halved(torch.tensor([0.4]), torch.tensor([0]))
        tensor([0.2002])
    """

    def __init__(self, method: str, pooled: Mapping,
                 by_class: Sequence[Optional[Mapping]]) -> None:
        if method not in METHODS:
            raise ValueError(f'calibration: the method is {method!r}: choose '
                             f'one of {", ".join(METHODS)}.')
        self.method = method
        self.pooled = _checked(method, pooled)
        self.by_class = [None if numbers is None else _checked(method, numbers)
                         for numbers in by_class]
        # a row for each class, those without numbers of their own included
        rows = [numbers or self.pooled for numbers in self.by_class]
        if method == 'isotonic':
            longest = max([2, *(len(row['scores']) for row in rows)])
            table = [[_padded(row[key], longest) for row in rows]
                     for key in _KEYS[method]]
        elif method == 'temperature':
            table = [[1 / row['T'] for row in rows], [0.0] * len(rows)]
        else:
            table = [[row[key] for row in rows] for key in 'ab']
        self._table = torch.tensor(table, dtype=torch.float64)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.by_class)

    @classmethod
    def fit(cls,
            method: str,
            scores: np.ndarray,
            targets: np.ndarray,
            labels: np.ndarray,
            num_classes: int,
            min_count: int = 30) -> ScoreCalibrator:
        """Fit each class, and all classes together, to detections.

        Isotonic regression takes the least squares; the others the least
        cross entropy of the targets.

        Args:
            method (str): One of :data:`METHODS`.
            scores (np.ndarray): [n] in [0, 1], of n detections.
            targets (np.ndarray): [n] in [0, 1], what they should have been:
                the IoU with the object found, or whether one was found; 0 for
                false alarms.
            labels (np.ndarray): int [n], in [0, C).
            num_classes (int): C.
            min_count (int): A class with fewer detections gets the function
                fitted to all; so does one that cannot be fitted: without any
                target above 0 (or below 1), or where Platt's a would turn
                the order round.

        Returns:
            ScoreCalibrator: Its ``by_class`` tells which classes have a
            function of their own.

        Raises:
            ImportError: Without scikit-learn.
            ValueError: If all detections together cannot be fitted, or the
                arguments do not fit.
        """
        if method not in METHODS:
            raise ValueError(f'calibration: the method is {method!r}: choose '
                             f'one of {", ".join(METHODS)}.')
        scores, targets = (np.asarray(x, np.float64)
                           for x in (scores, targets))
        for name, values in (('score', scores), ('target', targets)):
            if not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f'calibration: a {name} is not in [0, 1].')
        labels = np.asarray(labels)
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f'calibration: a label is not one of the '
                             f'{num_classes} classes.')
        pooled = _fit(method, scores, targets)
        if pooled is None:
            raise ValueError(
                f'calibration: {len(scores)} detections cannot be fitted: '
                'there must be some that find an object and some that do '
                'not, the former with higher scores. Lower --score-thr, or '
                'give more images.')
        by_class = []
        for label in range(num_classes):
            own = labels == label
            by_class.append(_fit(method, scores[own], targets[own])
                            if own.sum() >= max(min_count, 1) else None)
        return cls(method, pooled, by_class)

    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Calibrated scores.

        Args:
            scores (Tensor): [n] in [0, 1].
            labels (Tensor): int64 [n], in [0, C).

        Returns:
            Tensor: [n] in [0, 1], at least float32; of one class in the same
            order as ``scores``.
        """
        scores = at_least_float32(scores)
        table = self._table.to(scores)[:, labels]
        if self.method != 'isotonic':
            slope, offset = table
            return torch.sigmoid(slope * _logit(scores) + offset)
        knots, values = table.contiguous()  # [n, M]
        # the knot from which on the score is not larger, and the one before
        right = torch.searchsorted(knots, scores[:, None].contiguous())
        right = right.clamp(1, knots.size(1) - 1)
        pairs = torch.cat([right - 1, right], 1)
        (x0, x1), (y0, y1) = (t.gather(1, pairs).unbind(1)
                              for t in (knots, values))
        # padding repeats a knot: no width, and the score is beyond it
        tiny = torch.finfo(scores.dtype).tiny
        share = ((scores - x0) / (x1 - x0).clamp(min=tiny)).clamp(0, 1)
        return (1 - _SLOPE) * (y0 + share * (y1 - y0)) + _SLOPE * scores

    def state(self) -> dict:
        """What :meth:`from_state` takes: words, numbers, lists, dicts."""
        return dict(method=self.method, pooled=self.pooled,
                    by_class=self.by_class)

    @classmethod
    def from_state(cls, state: Mapping) -> ScoreCalibrator:
        """The calibrator that :meth:`state` describes.

        Raises:
            KeyError, TypeError, ValueError: If it describes none.
        """
        return cls(state['method'], state['pooled'], state['by_class'])


def _fit(method: str, scores: np.ndarray,
         targets: np.ndarray) -> Optional[dict]:
    """Numbers of the function of these detections; None if there is none."""
    if not len(targets) or not 0 < targets.mean() < 1:
        return None
    if method == 'isotonic':
        model = _sklearn('isotonic').IsotonicRegression(
            y_min=0, y_max=1, out_of_bounds='clip')
        model.fit(scores, targets)
        return dict(scores=model.X_thresholds_.tolist(),
                    values=model.y_thresholds_.tolist())
    logits = _logit(torch.from_numpy(scores)).numpy()
    if method == 'temperature':
        return dict(T=_fit_temperature(logits, targets))
    # a target between 0 and 1 is both labels, each with its share
    model = _sklearn('linear_model').LogisticRegression(
        C=1e10, max_iter=1000, tol=1e-8)
    model.fit(np.tile(logits, 2)[:, None],
              np.repeat([1, 0], len(targets)),
              sample_weight=np.concatenate([targets, 1 - targets]))
    a, b = float(model.coef_[0, 0]), float(model.intercept_[0])
    return dict(a=a, b=b) if a > 0 else None


def _fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """T of the least cross entropy, which is convex in 1 / T."""
    from scipy.optimize import minimize_scalar

    def cross_entropy(log_t: float) -> float:
        scaled = logits * np.exp(-log_t)
        # log(1 + exp(x)) - target · x
        return float((np.logaddexp(0, scaled) - targets * scaled).mean())

    best = minimize_scalar(cross_entropy, bounds=(-_LOG_T, _LOG_T),
                           method='bounded', options=dict(xatol=1e-8))
    return float(np.exp(best.x))


def _sklearn(module: str):
    """A module of scikit-learn, which only fitting needs."""
    import importlib
    try:
        return importlib.import_module(f'sklearn.{module}')
    except ImportError as e:
        raise ImportError(
            'calibration after training is fitted by scikit-learn, which is '
            "missing. Install it with: pip install 'mmdet-al[calibration]' "
            '(or pip install scikit-learn)') from e


def _logit(scores: Tensor) -> Tensor:
    """log(s / (1 - s)), finite for scores of 0 and 1 too."""
    return torch.logit(scores).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)


def _padded(values: Sequence[float], length: int) -> list[float]:
    """Values, the last one repeated."""
    return [*values, *[values[-1]] * (length - len(values))]


def _checked(method: str, numbers: Mapping) -> dict:
    """The numbers of one function, as plain ones."""
    keys = _KEYS[method]
    if set(numbers) != set(keys):
        raise ValueError(f'calibration: {method} has {", ".join(keys)} for a '
                         f'class, not {", ".join(map(str, numbers))}.')
    values = [np.asarray(numbers[key], dtype=np.float64) for key in keys]
    if not all(np.isfinite(v).all() for v in values):
        raise ValueError(f'calibration: a number of {method} is not finite.')
    if method != 'isotonic':
        if any(v.ndim for v in values) or values[0] <= 0:
            raise ValueError(f'calibration: {keys[0]} of {method} is '
                             f'{numbers[keys[0]]}: it must be above 0.')
        return {key: float(v) for key, v in zip(keys, values)}
    x, y = values
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError('calibration: isotonic needs as many values as '
                         'scores, at least one.')
    if (np.diff(x) <= 0).any() or (np.diff(y) < 0).any() or \
            y[0] < 0 or y[-1] > 1:
        raise ValueError('calibration: the knots of isotonic do not increase, '
                         'or a value is not in [0, 1].')
    return dict(scores=x.tolist(), values=y.tolist())

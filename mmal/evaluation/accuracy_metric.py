"""Top-1 accuracy of image classifiers."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmal.registry import METRICS


@METRICS.register_module()
class AccuracyMetric(BaseMetric):
    """The share of images whose class is right.

    Results, in [0, 1]: ``accuracy/top1``, and ``accuracy/class_mean``, the
    mean of the shares of each class that occurs.

    Args:
        collect_device (str): See mmengine's ``BaseMetric``.
        prefix (str, optional): See there; 'accuracy' by default.
    """

    default_prefix = 'accuracy'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep (label, predicted label) of each image.

        Args:
            data_batch: Not used.
            data_samples (sequence[dict]): With ``gt_instances`` and
                ``pred_instances`` of one label each.
        """
        for sample in data_samples:
            truth = sample['gt_instances']['labels']
            predicted = sample['pred_instances']['labels']
            self.results.append((int(truth), int(predicted)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See the class.

        Args:
            results (list[tuple[int, int]]): Of all images.
        """
        return accuracy(*np.array(results, np.int64).reshape(-1, 2).T)


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy over images and the mean of that of each class.

    Args:
        truth (np.ndarray): int [N], the classes.
        predicted (np.ndarray): int [N].

    Returns:
        dict[str, float]: ``top1`` and ``class_mean``; 0 without images.

    Examples:
        >>> accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
        {'top1': 0.75, 'class_mean': 0.5}
    """
    if not len(truth):
        return dict(top1=0.0, class_mean=0.0)
    right = truth == predicted
    # classes without an image have no share
    shares = [right[truth == c].mean() for c in np.unique(truth)]
    return dict(top1=float(right.mean()), class_mean=float(np.mean(shares)))

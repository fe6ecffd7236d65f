import numpy as np
import pytest
import torch

from mmal.evaluation.accuracy_metric import AccuracyMetric, accuracy


def sample(label, found):
    return dict(
        gt_instances=dict(labels=torch.tensor([label])),
        pred_instances=dict(labels=torch.tensor([found])))


def test_shares_over_images_and_over_classes():
    metric = AccuracyMetric()
    metric.process(None, [sample(0, 0), sample(0, 0), sample(0, 2)])
    metric.process(None, [sample(1, 0)])
    found = metric.evaluate(4)
    assert found == pytest.approx({
        'accuracy/top1': 2 / 4, 'accuracy/class_mean': (2 / 3 + 0) / 2})


def test_without_images_it_is_zero():
    none = np.zeros(0, np.int64)
    assert accuracy(none, none) == dict(top1=0, class_mean=0)

"""Class-balanced uncertainty, detection by detection."""
import math

import numpy as np
import pytest
from helpers.detectors import DETECTORS
from helpers.pools import partly_labelled_pool as pool
from helpers.pools import score_in_two_processes

from mmal.registry import TASK_UTILS
from mmal.scoring import ClassBalanceScorer, score_pool
from mmal.scoring.detections.predict import detect


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


def entropy(p):
    return sum(-x * math.log(x) for x in p if x > 0)


@pytest.mark.parametrize('name, labelled', [
    ('fcos', slice(0, 5)), ('fcos', slice(0, 0)), ('mdn_ssd', slice(0, 5))])
def test_equals_detections_one_by_one(root, mmdet_scope, name, labelled):
    model, truth, of_class = DETECTORS[name](), {}, {}
    counts = pool(root, labelled=labelled).class_counts('labelled')[0]
    counts = [sum(row[c] for row in counts.tolist()) for c in range(3)]
    powers = [math.exp(1 - n / max(1, sum(counts))) for n in counts]
    weights = [3 * p / sum(powers) for p in powers]
    assert (len(set(weights)) > 1) == (labelled.stop > 0)
    data = pool(root, 1)
    best = sorted(detect(model, b)[0].scores.max().item()
                  for b in data.batches('unlabelled', model))
    score_thr = (best[2] + best[3]) / 2
    for batch in data.batches('unlabelled', model):
        found = detect(model, batch)[0]
        own = [n for n, p in enumerate(found.scores.tolist())
               if p >= score_thr]
        scores = [float(found.scores[n]) for n in own]
        values = []
        for n, p in zip(own, scores):
            probs = found.class_probs[n].tolist() \
                if 'class_probs' in found else [p, 1 - p]
            values.append((1 - np.mean(scores)) * entropy(probs))
        classes = [int(found.labels[n]) for n in own]
        image = batch.ids[0]
        truth[image] = sum(weights[c] * v for c, v in zip(classes, values)) \
            if own else -np.inf
        of_class[image] = [
            sum(v for v, k in zip(values, classes) if k == c)
            if c in classes else -np.inf for c in range(3)]
    scores = score_pool(model, ClassBalanceScorer(score_thr),
                        pool(root, labelled=labelled))
    np.testing.assert_allclose(
        scores.values, [truth[i] for i in scores.ids], rtol=1e-3)
    np.testing.assert_allclose(
        scores.columns['class_scores'], [of_class[i] for i in scores.ids],
        rtol=1e-3)
    assert np.isneginf(scores.values).sum() == 3


def test_neither_batches_nor_processes_matter(root, monkeypatch,
                                              mmdet_scope):
    model, scorer = DETECTORS['fcos'](), ClassBalanceScorer()
    one, four = (
        score_pool(model, scorer, pool(root, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, root, model, scorer, pool)
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-3)


def test_mistakes_are_named(mmdet_scope):
    scorer = TASK_UTILS.build(dict(type='mmal.ClassBalanceScorer'))
    scorer.check(DETECTORS['detr'](), None)
    with pytest.raises(ValueError, match='score_thr is 2'):
        ClassBalanceScorer(2)

import math

import numpy as np
import pytest
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import tiny_fcos
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd
from torch import nn

from mmal.registry import TASK_UTILS
from mmal.scoring import DetectionEntropyScorer, score_pool
from mmal.scoring.detections.predict import detect

REDUCE = dict(mean=np.mean, max=np.max, sum=np.sum)


def entr(p):
    return -p * math.log(p) if p > 0 else 0.0


def by_hand(found):
    """Entropy of each detection of an image."""
    if 'class_probs' in found:
        return [sum(map(entr, p)) for p in found.class_probs.tolist()]
    return [entr(p) + entr(1 - p) for p in found.scores.tolist()]


def all_detections(model, root):
    data = pool(root, batch_size=1)
    found = {b.ids[0]: detect(model, b)[0]
             for b in data.batches('unlabelled', model)}
    return [found[i] for i in data.ids('unlabelled')]


def threshold(found):
    """The middle between two images' best scores: some have nothing."""
    best = sorted(max(d.scores.tolist(), default=0) for d in found)
    return (best[2] + best[3]) / 2


@pytest.mark.parametrize('build', [tiny_fcos, tiny_ssd, tiny_mdn_ssd])
@pytest.mark.parametrize('how', ['mean', 'max', 'sum'])
def test_scores_equal_detections_one_by_one(tmp_path, mmdet_scope, build,
                                            how):
    model = build()
    found = all_detections(model, tmp_path)
    values = [by_hand(d) for d in found]
    truth = [REDUCE[how](v) if v else -np.inf for v in values]
    scores = score_pool(model, DetectionEntropyScorer(how), pool(tmp_path))
    np.testing.assert_allclose(scores.values, truth, rtol=1e-3)
    assert scores.columns['detections'].tolist() == [len(v) for v in values]
    assert sum(map(len, values)) > 0


@pytest.mark.parametrize('how', ['mean', 'max', 'sum'])
def test_each_class_has_its_detections(tmp_path, mmdet_scope, how):
    model = tiny_mdn_ssd()
    found = all_detections(model, tmp_path)
    score_thr = threshold(found)
    scores = score_pool(
        model, DetectionEntropyScorer(how, score_thr), pool(tmp_path))
    for d, row in zip(found, scores.columns['class_scores']):
        for c in range(3):
            kept = by_hand(d[(d.labels == c) & (d.scores >= score_thr)])
            truth = REDUCE[how](kept) if kept else -np.inf
            assert row[c] == pytest.approx(truth, rel=1e-3)
    assert 0 < np.isneginf(scores.columns['class_scores']).mean() < 1


@pytest.mark.parametrize('how', ['mean', 'max', 'sum'])
@pytest.mark.parametrize('weights', [(2.0, 0.5, 0.1), (0.0, 3.0, 1.0),
                                     (1.0, 0.0, 2.0)])
def test_weights_of_classes(tmp_path, mmdet_scope, how, weights):
    model = tiny_mdn_ssd()
    found = all_detections(model, tmp_path)
    scores, plain = (
        score_pool(model, DetectionEntropyScorer(how, 0.0, w),
                   pool(tmp_path)) for w in (weights, None))
    for d, value in zip(found, scores.values):
        kept = [weights[c] * e for c, e in zip(d.labels.tolist(), by_hand(d))
                if weights[c]]
        truth = REDUCE[how](kept) if kept else -np.inf
        assert value == pytest.approx(truth, rel=1e-3)
    for name in ('class_scores', 'detections'):  # without weights
        np.testing.assert_array_equal(scores.columns[name],
                                      plain.columns[name])
    assert not np.array_equal(scores.values, plain.values)
    assert {c for d in found for c in d.labels.tolist()} == {0, 1, 2}


def test_weak_detections_do_not_count(tmp_path, mmdet_scope):
    model = tiny_mdn_ssd()
    found = all_detections(model, tmp_path)
    score_thr = threshold(found)
    kept = [by_hand(d[d.scores >= score_thr]) for d in found]
    scorer = DetectionEntropyScorer(score_thr=score_thr)
    scores = score_pool(model, scorer, pool(tmp_path))
    assert scores.columns['detections'].tolist() == list(map(len, kept))
    last = [i for i, k in enumerate(kept) if not k]
    assert last and (scores.values[last] == -np.inf).all()


def test_neither_batches_nor_processes_matter(tmp_path, monkeypatch,
                                              mmdet_scope):
    model, scorer = tiny_mdn_ssd(), DetectionEntropyScorer('mean')
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    assert one.ids == four.ids == two.ids
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4)


def test_a_config_builds_it():
    scorer = TASK_UTILS.build(dict(type='mmal.DetectionEntropyScorer'))
    assert (scorer.aggregation, scorer.score_thr) == ('sum', 0.0)
    with pytest.raises(ValueError, match="scorer.aggregation is 'median'"):
        DetectionEntropyScorer('median')
    with pytest.raises(ValueError, match='scorer.score_thr is 30'):
        DetectionEntropyScorer(score_thr=30)
    with pytest.raises(ValueError, match='at least 0, not all of them 0'):
        DetectionEntropyScorer(class_weights=[1, -1, 0])
    with pytest.raises(ValueError, match='has 2 numbers, but .* 3 classes'):
        DetectionEntropyScorer(class_weights=[1, 2]).check(tiny_fcos(), None)


def test_a_model_without_boxes_is_refused_before_training():
    with pytest.raises(ValueError, match='roi_head.bbox_head'):
        DetectionEntropyScorer().check(nn.Identity(), None)


def test_a_model_that_cannot_detect_is_refused_before_training(mmdet_scope):
    model = tiny_ssd()
    DetectionEntropyScorer().check(model, None)
    del model.bbox_head.loss_cls  # as in mmdet's own SSDHead
    with pytest.raises(ValueError, match="type='mmal.SSDHead'"):
        DetectionEntropyScorer().check(model, None)

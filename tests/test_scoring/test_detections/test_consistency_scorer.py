"""CALD against loops over images, augmentations and boxes."""
import math

import numpy as np
import pytest
from helpers.detectors import DETECTORS
from helpers.pools import partly_labelled_pool as pool
from helpers.pools import score_in_two_processes
from torch import nn

from mmal.scoring import ConsistencyScorer, score_pool
from mmal.scoring.detections import consistency_scorer as module
from mmal.scoring.detections.augment import augmented
from mmal.scoring.detections.describe import describe
from mmal.selection import Quota, TopN, TwoStage


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


def iou(a, b):
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]))
             for i in (0, 1)]
    shared = sides[0] * sides[1]
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return shared / max(sum(areas) - shared, 1e-6)


def jensen_shannon(p, q):
    middle = [(a + b) / 2 for a, b in zip(p, q)]
    return sum(sum(a * math.log(a / m) for a, m in zip(x, middle) if a > 0)
               for x in (p, q)) / 2


def softmax(values):
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def normal(p):
    return [x / sum(p) for x in p]


def classes_of(found):
    best = [0.0] * 3
    for score, label in zip(found.scores.tolist(), found.labels.tolist()):
        best[label] = max(best[label], score)
    return best


def by_hand(model, data, kinds, beta, score_thr):
    counts = data.class_counts('labelled')[0]
    labelled = softmax(counts.mean(0).tolist())
    truth = {}
    for batch in data.batches('unlabelled', model):
        clean = describe(model, batch)[0]
        rows = [n for n, p in enumerate(clean.scores.tolist())
                if p >= score_thr]
        seen, distances = [classes_of(clean)], []
        for kind in kinds:
            changed, moved = augmented(
                kind, batch, clean.bboxes[None],
                (clean.scores >= score_thr)[None], model, data.seed,
                data.round)
            found = describe(model, changed)[0]
            seen.append(classes_of(found))
            values = []
            for n in rows:
                overlaps = [iou(moved[0, n].tolist(), b)
                            for b in found.bboxes.tolist()]
                if not overlaps or max(overlaps) <= 0:
                    values.append(abs(0 - beta))
                    continue
                best = int(np.argmax(overlaps))
                p, q = (x.tolist() for x in (
                    clean.class_probs[n], found.class_probs[best]))
                m = overlaps[best] + .5 * (
                    1 - jensen_shannon(normal(p), normal(q))) * (
                        max(p[:3]) + max(q[:3]))
                values.append(abs(m - beta))
            distances.append(min(values, default=0) if len(found) else 0)
        distance = jensen_shannon(
            labelled, softmax(np.mean(seen, 0).tolist()))
        truth[batch.ids[0]] = (-np.mean(distances), distance, len(rows))
    return [np.array(x) for x in
            zip(*(truth[i] for i in data.ids('unlabelled')))]


def threshold(model, data):
    """Leaves three images without a detection."""
    best = sorted(describe(model, batch)[0].scores.max().item()
                  for batch in data.batches('unlabelled', model))
    return (best[2] + best[3]) / 2


@pytest.mark.parametrize('name, kinds, beta, empty, value, far', [
    ('fcos', ('flip', 'cutout', 'rotate'), 1.3, 'first', 0, np.inf),
    ('retina_softmax', ('flip', 'noise'), .9, 'last', -np.inf, -np.inf),
    ('faster_rcnn', ('downsize', ), 1.3, 'first', 0, np.inf)])
def test_equals_boxes_one_by_one(root, mmdet_scope, name, kinds, beta, empty,
                                 value, far):
    model = DETECTORS[name]()
    score_thr = threshold(model, pool(root, 1))
    score, distance, count = by_hand(
        model, pool(root, 1, seed=4), kinds, beta, score_thr)
    nothing = count == 0
    assert nothing.sum() == 3
    assert len(set(score[~nothing].round(4))) > 2
    found = score_pool(model, ConsistencyScorer(kinds, beta, score_thr, empty),
                       pool(root, seed=4))
    np.testing.assert_allclose(
        found.values, np.where(nothing, value, score), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(
        found.columns['class_distance'], np.where(nothing, far, distance),
        rtol=2e-3, atol=1e-5)
    assert found.columns['detections'].tolist() == count.tolist()


def test_nothing_found_afterwards_is_most_informative(root, mmdet_scope,
                                                      monkeypatch):
    model, scorer = DETECTORS['fcos'](), ConsistencyScorer(['flip', 'noise'])
    data = pool(root)
    scorer.prepare(model, data)
    for batch in data.batches('unlabelled', model):

        def blind(model, other, clean=batch):
            found = describe(model, other)
            return found if other is clean else [d[:0] for d in found]

        monkeypatch.setattr(module, 'describe', blind)
        assert scorer.process(model, batch)['score'].tolist() == \
            [0] * len(batch)


def test_neither_batches_nor_processes_matter(root, monkeypatch,
                                              mmdet_scope):
    model = DETECTORS['fcos']()
    scorer = ConsistencyScorer(['cutout', 'downsize'])
    one, four = (
        score_pool(model, scorer, pool(root, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, root, model, scorer, pool)
    for other in four, two:
        np.testing.assert_allclose(
            other.values, one.values, rtol=1e-3, atol=1e-3)


def test_the_second_stage_takes_other_classes(root, mmdet_scope):
    scores = score_pool(DETECTORS['fcos'](), ConsistencyScorer(['flip']),
                        pool(root))
    chosen = TwoStage(TopN(), Quota(dict(class_distance=1)),
                      keep_images=6).select(scores, 3)
    kept = np.argsort(-scores.values)[:6]
    distance = scores.columns['class_distance'][kept]
    truth = kept[np.argsort(-distance)][:3]
    assert chosen == [scores.ids[i] for i in truth]


def test_nothing_labelled_yet(root, mmdet_scope):
    scores = score_pool(DETECTORS['fcos'](), ConsistencyScorer(['flip']),
                        pool(root, labelled=slice(0, 0)))
    assert np.isfinite(scores.values).all()


def test_nothing_is_found_at_all(root, mmdet_scope):
    model = DETECTORS['fcos']()
    nn.init.constant_(model.bbox_head.conv_cls.bias, -50)
    for empty, value in (('first', 0), ('last', -np.inf)):
        found = score_pool(model, ConsistencyScorer(['flip'], empty=empty),
                           pool(root))
        assert (found.values == value).all()


@pytest.mark.parametrize('kwargs, message', [
    (dict(augmentations=()), r'augmentations is \(\)'),
    (dict(augmentations='flip'), "augmentations is 'flip'"),
    (dict(augmentations=['flip', 'flip']), 'each once'),
    (dict(augmentations=['blur']), "augmentations is 'blur'"),
    (dict(beta=3), 'beta is 3'), (dict(score_thr=-1), 'score_thr is -1'),
    (dict(empty='never'), "empty is 'never'")])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConsistencyScorer(**kwargs)


def test_models_it_cannot_read_are_refused_before_training(mmdet_scope):
    scorer = ConsistencyScorer()
    for name in ('fcos', 'faster_rcnn'):
        scorer.check(DETECTORS[name](), None)
    model = DETECTORS['fcos']()
    model.data_preprocessor = nn.Identity()
    with pytest.raises(ValueError, match='the model has a Identity'):
        scorer.check(model, None)
    with pytest.raises(ValueError, match='does not know how to of'):
        scorer.check(DETECTORS['yolox'](), None)

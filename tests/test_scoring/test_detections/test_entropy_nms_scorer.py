"""ENMS and class prototypes, detection by detection."""
import math

import numpy as np
import pytest
from helpers.detectors import DETECTORS
from helpers.pools import partly_labelled_pool as pool
from helpers.pools import score_in_two_processes

from mmal.scoring import EntropyNMSScorer, score_pool
from mmal.scoring.detections.describe import describe, feature_layers
from mmal.selection import DiversePrototypes, unpack_detections


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


def entropy(p):
    return sum(-x * math.log(x) for x in p if x > 0)


def of_detection(p):
    return entropy(p) if len(p) == 4 else sum(
        entropy([x, 1 - x]) for x in p)


def left_of(entropies, labels, features, keep, threshold):
    """Which are left of detections, the most uncertain ones first."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    left = []
    for n in sorted(np.flatnonzero(keep), key=lambda n: -entropies[n]):
        if all(labels[n] != labels[k] or unit[n] @ unit[k] <= threshold
               for k in left):
            left.append(n)
    return [n in left for n in range(len(keep))]


@pytest.mark.parametrize('name', ['fcos', 'retina_softmax', 'faster_rcnn'])
def test_equals_detections_one_by_one(root, mmdet_scope, name):
    model, score_thr, similarity = DETECTORS[name](), .3, .6
    if name == 'retina_softmax':
        score_thr = .25
    layers = feature_layers(model)
    found = score_pool(
        model, EntropyNMSScorer(score_thr, similarity), pool(root))
    rows = unpack_detections('Test', found.embeddings)
    counts = pool(root).class_counts('labelled')[0].sum(0)
    minority = np.argsort(counts, kind='stable')[:2]
    truth, data = {}, pool(root, 1)
    for batch in data.batches('unlabelled', model):
        truth[batch.ids[0]] = describe(model, batch, layers)[0]
    dropped = 0
    for n, image in enumerate(found.ids):
        d = truth[image]
        keep = (d.scores >= score_thr).tolist()
        values = [of_detection(p) for p in d.class_probs.tolist()]
        features = d.features.double().numpy()
        left = left_of(values, d.labels.tolist(), features, keep, similarity)
        dropped += sum(keep) - sum(left)
        own = [k for k, is_left in enumerate(left) if is_left]
        assert found.values[n] == pytest.approx(
            sum(values[k] for k in own) if own else -np.inf, rel=1e-3)
        assert found.columns['detections'][n] == sum(keep)
        assert found.columns['left'][n] == sum(left)
        places = (rows.images == n).nonzero()[:, 0].tolist()
        by_class = {int(rows.labels[p]): p for p in places}
        for c in range(3):
            of_class = [k for k in own if d.labels[k] == c]
            best = max((float(d.scores[k]) for k in of_class), default=0.)
            assert found.columns['minority_scores'][n, c] == pytest.approx(
                best if c in minority else -1, rel=1e-3)
            assert (c in by_class) == bool(of_class)
            if of_class:
                mean = sum(values[k] * features[k] for k in of_class)
                np.testing.assert_allclose(
                    rows.features[by_class[c]], mean / np.linalg.norm(mean),
                    atol=2e-3)
                assert float(rows.scores[by_class[c]]) == pytest.approx(
                    best, rel=1e-3)
    assert dropped > 0


def test_neither_batches_nor_processes_matter(root, monkeypatch,
                                              mmdet_scope):
    model, scorer = DETECTORS['fcos'](), EntropyNMSScorer()
    one, four = (
        score_pool(model, scorer, pool(root, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, root, model, scorer, pool)
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-3)
        np.testing.assert_allclose(other.embeddings, one.embeddings,
                                   rtol=1e-2, atol=1e-3)
    orders = [DiversePrototypes().select(s, 4, s.embeddings)
              for s in (one, two)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize('kwargs, message', [
    (dict(score_thr=2), 'score_thr is 2'),
    (dict(similarity_thr=2), 'similarity_thr is 2'),
    (dict(minority=-1), 'minority is -1')])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        EntropyNMSScorer(**kwargs)


def test_models_it_cannot_read_are_refused_before_training(mmdet_scope):
    scorer = EntropyNMSScorer()
    scorer.check(DETECTORS['atss'](), None)
    with pytest.raises(ValueError, match='use a detector with an FPN'):
        scorer.check(DETECTORS['ssd'](), None)
    with pytest.raises(ValueError, match='does not know how to of'):
        scorer.check(DETECTORS['yolox'](), None)

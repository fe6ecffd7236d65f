"""PPAL's first stage against loops over detections and labelled images."""
import math

import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import tiny_config, tiny_fcos
from mmengine.logging import MMLogger

from mmal.models.utils.match_recorder import MatchRecorder
from mmal.registry import TASK_UTILS
from mmal.scoring import (
    DifficultyCalibratedScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.detections.describe import describe, feature_layers
from mmal.selection import CategoryMatching, unpack_detections


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


def with_difficulty(model, *values):
    head = getattr(model, 'roi_head', model).bbox_head
    head.class_difficulty = torch.tensor(values, dtype=torch.float64)
    return model


def entropy(p):
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def described(model, root):
    layers, found = feature_layers(model), {}
    data = pool(root, 1)
    for batch in data.batches('unlabelled', model):
        found[batch.ids[0]] = describe(model, batch, layers)[0]
    return [found[i] for i in data.ids('unlabelled')]


@pytest.mark.parametrize('build', [
    tiny_fcos, DETECTORS['retina'], DETECTORS['faster_rcnn']])
def test_equals_detections_one_by_one(root, mmdet_scope, build):
    difficulty, score_thr, alpha, beta = (.9, .0, .4), .3, .5, .7
    model = with_difficulty(build(), *difficulty)
    scores = score_pool(model, DifficultyCalibratedScorer(
        score_thr=score_thr, alpha=alpha, beta=beta, max_detections=4),
        pool(root))
    weight = [1 + alpha * beta * math.log(1 + (math.exp(1 / alpha) - 1) * d)
              for d in difficulty]
    rows = unpack_detections('Test', scores.embeddings)
    seen = 0
    for n, found in enumerate(described(model, root)):
        own = sorted(((p, c, f) for p, c, f in zip(
            found.scores.tolist(), found.labels.tolist(),
            found.features.double()) if p >= score_thr),
            key=lambda x: -x[0])
        values = [weight[c] * entropy(p) for p, c, _ in own]
        assert scores.values[n] == pytest.approx(
            sum(values) if own else -np.inf, rel=1e-3)
        for c in range(3):
            of_class = [v for v, (_, k, _) in zip(values, own) if k == c]
            assert scores.columns['class_scores'][n, c] == pytest.approx(
                sum(of_class) if of_class else -np.inf, rel=1e-3)
        places = (rows.images == n).nonzero()[:, 0]
        assert len(places) == min(4, len(own))
        for place, (p, c, f) in zip(places.tolist(), own):
            assert float(rows.scores[place]) == pytest.approx(p, rel=1e-3)
            assert int(rows.labels[place]) == c
            torch.testing.assert_close(rows.features[place], f / f.norm(),
                                       rtol=1e-2, atol=1e-3)
        seen += len(own)
    assert seen > 5 and len(set(scores.values.tolist())) > 3


def test_without_weights_it_is_the_sum_of_entropies(root, mmdet_scope):
    model = tiny_fcos()
    plain = score_pool(model, TASK_UTILS.build(dict(
        type='mmal.DetectionEntropyScorer', score_thr=.05)), pool(root))
    ours = score_pool(
        with_difficulty(model, 1, 1, 0),
        DifficultyCalibratedScorer(beta=0., max_detections=0), pool(root))
    np.testing.assert_allclose(ours.values, plain.values, rtol=1e-6)
    assert ours.embeddings is None


def test_neither_batches_nor_processes_matter(root, monkeypatch,
                                              mmdet_scope):
    model = with_difficulty(tiny_fcos(), .2, .5, 1)
    scorer = DifficultyCalibratedScorer(max_detections=5)
    one, four = (
        score_pool(model, scorer, pool(root, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, root, model, scorer)
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-3,
                                   atol=1e-4)
        np.testing.assert_allclose(other.embeddings, one.embeddings,
                                   rtol=1e-3, atol=1e-3)
    # rows of one run and those of another give the same order
    orders = [CategoryMatching().with_draws(3).select(s, 12, s.embeddings)
              for s in (one, two)]
    assert orders[0] == orders[1]


def test_one_forward_pass_an_image(root, mmdet_scope):
    model, passes = with_difficulty(tiny_fcos(), 1, 1, 1), []
    scorer, data = DifficultyCalibratedScorer(), pool(root, 1)
    scorer.prepare(model, data)
    model.backbone.register_forward_hook(lambda *args: passes.append(1))
    for batch in data.batches('unlabelled', model):
        scorer.process(model, batch)
    assert len(passes) == 12


def labelled_pool(root, batch_size=2):
    config = tiny_config(str(root))
    dataset = dict(config.train_dataloader.dataset,
                   pipeline=config.test_dataloader.dataset.pipeline)
    return ScoringData(
        dict(unlabelled=Split(dataset, labels=False),
             labelled=Split(dataset, labels=True)),
        batch_size=batch_size, num_workers=0, progress=False)


def difficulty_by_hand(model, data, xi):
    """Each image alone, in training mode: it has no batch norm here."""
    qualities = [[] for _ in range(3)]

    def add(labels, probs, ious):
        for c, p, iou in zip(*(x.tolist() for x in (labels, probs, ious))):
            qualities[c].append(p**xi * iou**(1 - xi))

    for batch in data.batches('labelled', model):
        for n in range(len(batch)):
            model.bbox_head.train()
            with MatchRecorder(model.bbox_head, add):
                model.bbox_head.loss(
                    model.extract_feat(batch.inputs[n:n + 1]),
                    batch.samples[n:n + 1])
            model.bbox_head.eval()
    return [1 - np.mean(q) if q else 1.0 for q in qualities]


@pytest.mark.parametrize('build, recorded', [
    (tiny_fcos, False), (DETECTORS['retina'], True)])
def test_labelled_images_tell_the_difficulty(root, mmdet_scope, build,
                                             recorded):
    model = build()
    if recorded:
        with_difficulty(model, 0, 0, 0)
    xi = .3
    truth = difficulty_by_hand(model, labelled_pool(root, 1), xi)
    assert min(truth) < 1 and len(set(truth)) > 1
    assert not model.bbox_head.training
    scorer = DifficultyCalibratedScorer('labelled', xi=xi, max_detections=0)
    found = score_pool(model, scorer, labelled_pool(root))
    for key in ('training', 'labelled'):
        other = score_pool(
            with_difficulty(build(), *truth),
            DifficultyCalibratedScorer(key, xi=xi, max_detections=0),
            labelled_pool(root))
        np.testing.assert_allclose(other.values, found.values, rtol=1e-4)


def test_what_nobody_recorded_is_looked_up(root, mmdet_scope):
    scorer = DifficultyCalibratedScorer(max_detections=0)
    asked = DifficultyCalibratedScorer('labelled', max_detections=0)
    found, truth = (score_pool(tiny_fcos(), s, labelled_pool(root))
                    for s in (scorer, asked))
    np.testing.assert_array_equal(found.values, truth.values)
    with pytest.raises(ValueError, match='ClassDifficultyHook.*or name'):
        score_pool(tiny_fcos(), scorer, pool(root))
    with pytest.raises(ValueError, match='ClassDifficultyHook'):
        score_pool(DETECTORS['faster_rcnn'](), scorer, pool(root))


def test_that_nobody_recorded_it_is_said(root, mmdet_scope, caplog):
    said = []
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        for difficulty, model in (
                ('training', with_difficulty(tiny_fcos(), 0, 0, 0)),
                ('labelled', tiny_fcos()), ('training', tiny_fcos())):
            DifficultyCalibratedScorer(difficulty, max_detections=0).prepare(
                model, labelled_pool(root))
            said.append(caplog.text.count('ClassDifficultyHook'))
    finally:
        logger.removeHandler(caplog.handler)
    assert said == [0, 0, 1]


def test_labelled_images_need_name_no_ignored_boxes(root, mmdet_scope):
    """A pipeline of one's own may leave them out."""
    data, weights = labelled_pool(root), []
    scorer = DifficultyCalibratedScorer('labelled', max_detections=0)
    batches = data.batches

    def bare(*args, **kwargs):
        for batch in batches(*args, **kwargs):
            for sample in batch.samples:
                del sample.ignored_instances
            yield batch

    for source in (batches, bare):
        data.batches = source
        weights.append(score_pool(tiny_fcos(), scorer, data).values)
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize('kwargs, message', [
    (dict(difficulty='val'), "difficulty is 'val'"),
    (dict(score_thr=2), 'score_thr is 2'),
    (dict(alpha=0), 'alpha is 0'),
    (dict(beta=-1), 'beta is -1'),
    (dict(xi=1.5), 'xi is 1.5'),
    (dict(max_detections=-1), 'max_detections is -1')])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DifficultyCalibratedScorer(**kwargs)


def test_models_it_cannot_read_are_refused_before_training(mmdet_scope):
    scorer = DifficultyCalibratedScorer()
    for name in ('fcos', 'retina', 'faster_rcnn'):
        scorer.check(DETECTORS[name](), None)
    with pytest.raises(ValueError, match='does not know how to of'):
        scorer.check(DETECTORS['yolox'](), None)
    with pytest.raises(ValueError, match='is drawn at random'):
        DifficultyCalibratedScorer('labelled').check(
            DETECTORS['faster_rcnn'](), None)

"""PAL's uncertainty against loops over labelled images and detections."""
import doctest
import math
import os.path as osp

import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS
from helpers.pools import partly_labelled_pool, pool, score_in_two_processes

from mmal.engine import Settings
from mmal.engine.query import Query
from mmal.fileio import read_json, write_json
from mmal.scoring import LogisticUncertaintyScorer, Split, score_pool
from mmal.scoring.detections import logistic_uncertainty_scorer as module
from mmal.scoring.detections.describe import describe
from mmal.scoring.detections.logistic import fit_logistic
from mmal.selection import ClassBudgets, TopN

DETECTOR = ('fcos', 'retina_softmax', 'faster_rcnn')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(module, 'print_log',
                        lambda text, *args: told.append(text))
    return told


def labelled_detector(root, name, right=(3, 2, 5)):
    """A detector, and ``found.json`` with the labels of five images. Their
    boxes are some of its detections, of class c each of which the number can
    be divided by right[c], moved a bit, some of them crowds, and one that
    nothing finds."""
    model, data = DETECTORS[name](), pool(root, 1)
    dataset = data.splits['unlabelled'].dataset
    truth = read_json(osp.join(dataset['data_root'], dataset['ann_file']))
    categories = [c['id'] for c in truth['categories']]
    boxes = []
    for batch in data.batches('unlabelled', model,
                              data.ids('unlabelled')[:5]):
        with torch.no_grad():
            found = model.predict(batch.inputs,
                                  batch.samples)[0].pred_instances
        for n, (box, c) in enumerate(zip(found.bboxes.tolist(),
                                         found.labels.tolist())):
            if n % right[c] == 0:
                width, height = box[2] - box[0], box[3] - box[1]
                boxes.append((batch.ids[0], c, int(n % 10 == 8), [
                    box[0] + .1 * width, box[1], width, height]))
        boxes.append((batch.ids[0], 0, 0, [0, 0, 3, 3]))
    write_json(osp.join(root, 'found.json'), dict(truth, annotations=[
        dict(id=n + 1, image_id=image, category_id=categories[c],
             iscrowd=crowd, bbox=box, area=box[2] * box[3])
        for n, (image, c, crowd, box) in enumerate(boxes)]))
    return model


def found_pool(root, batch_size=1):
    """The pool with the labels of :func:`labelled_detector`."""
    data = partly_labelled_pool(root, batch_size)
    split = data.splits['labelled']
    data.splits['labelled'] = Split(
        dict(split.dataset, ann_file='found.json'), labels=True, ids=split.ids)
    return data


def iou(a, b, of_first=False):
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k])
                     for k in (0, 1))
    shared = max(width, 0) * max(height, 0)
    first, second = ((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    whole = first if of_first else first + second - shared
    return shared / whole if shared else 0.


def outcomes(d, truth, crowds, score_thr):
    """Class, candidates, score and whether it is right of each detection that
    no crowd swallows, the highest score first."""
    free = list(range(len(truth)))
    rows = []
    for n in sorted(range(len(d)), key=lambda n: -float(d.scores[n])):
        box, label = d.bboxes[n].tolist(), int(d.labels[n])
        if d.scores[n] < score_thr:
            continue
        overlaps = {k: iou(box, truth.bboxes[k].tolist()) for k in free
                    if truth.labels[k] == label}
        best = max(overlaps, key=overlaps.get, default=None)
        right = best is not None and overlaps[best] >= .5
        if right:
            free.remove(best)
        elif any(c == label and iou(box, b.tolist(), True) >= .5
                 for b, c in zip(crowds.bboxes, crowds.labels)):
            continue
        rows.append((label, int(d.candidates[n]), float(d.scores[n]), right))
    return rows


def lines_of(rows, least):
    def fit(own):
        return fit_logistic(np.array([r[1:3] for r in own], float),
                            np.array([r[3] for r in own]))

    lines = []
    for c in range(3):
        own = [r for r in rows if r[0] == c]
        fits = len(own) >= least and len({r[3] for r in own}) == 2
        lines.append(fit(own if fits else rows))
    return lines


def bits(p):
    return sum(-q * math.log2(q) for q in (p, 1 - p) if q > 0)


def nats(distribution):
    total = sum(distribution)
    return sum(-p / total * math.log(p / total)
               for p in distribution if p > 0)


@pytest.mark.parametrize('name', DETECTOR)
def test_equals_detections_one_by_one(root, mmdet_scope, warnings, name):
    model, score_thr, least = labelled_detector(root, name), .22, 12
    rows, data = [], found_pool(root)
    for batch in data.batches('labelled', model):
        sample = batch.samples[0]
        rows += outcomes(describe(model, batch, candidate_iou=.5)[0],
                         sample.gt_instances, sample.ignored_instances,
                         score_thr)
    lines = lines_of(rows, least)
    assert 5 < sum(r[3] for r in rows) < len(rows) - 5
    truth = {}
    for batch in data.batches('unlabelled', model):
        d = describe(model, batch, candidate_iou=.5)[0]
        values = [[] for _ in range(3)]
        for p, c, n, probs in zip(d.scores.tolist(), d.labels.tolist(),
                                  d.candidates.tolist(),
                                  d.class_probs.tolist()):
            if p >= score_thr:
                z = float(lines[c] @ [1, n, p])
                values[c].append((bits(1 / (1 + math.exp(-z))), nats(probs)))
        truth[batch.ids[0]] = values

    scores = score_pool(
        model, LogisticUncertaintyScorer(score_thr, min_detections=least),
        found_pool(root))
    of_class = [[max((u for u, _ in of), default=-math.inf)
                 for of in truth[i]] for i in scores.ids]
    np.testing.assert_allclose(scores.columns['class_scores'], of_class,
                               rtol=1e-4)
    np.testing.assert_allclose(scores.values, np.max(of_class, 1), rtol=1e-4)

    detected = [sum(len(truth[i][c]) for i in truth) for c in range(3)]
    drawn = found_pool(root).class_counts('labelled')[0].sum(0)
    r = [1 - .5 * (drawn[c] / sum(drawn) + detected[c] / sum(detected))
         for c in range(3)]
    np.testing.assert_allclose(scores.columns['class_weights'], [
        [r[c] if truth[i][c] else 0 for c in range(3)] for i in scores.ids])
    np.testing.assert_allclose(scores.columns['weighted_entropy'], [
        sum(r[c] * sum(h for _, h in truth[i][c]) for c in range(3))
        for i in scores.ids], rtol=1e-4)
    assert scores.columns['detections'].sum() == sum(detected) > 20
    few = [c for c in range(3) if len([r for r in rows if r[0] == c]) < least]
    assert len(warnings) == bool(few)
    for c in range(3):
        assert any(f'class_{c}' in text for text in warnings) == (c in few)


def test_neither_batches_nor_processes_matter(root, monkeypatch, mmdet_scope):
    model = labelled_detector(root, 'fcos')
    scorer = LogisticUncertaintyScorer(min_detections=5)
    one, four = (score_pool(model, scorer, found_pool(root, size))
                 for size in (1, 4))
    scorer.prepare(model, found_pool(root))
    lines, halves = scorer._lines, []

    def gather(of_image):
        halves.append(of_image)
        return list(halves)

    # process 1 looks at its labelled images, then process 0, which has both
    monkeypatch.setattr(module, 'all_gather_object', gather)
    for rank in (1, 0):
        monkeypatch.setattr('mmal.scoring.data.get_dist_info',
                            lambda rank=rank: (rank, 2))
        scorer.prepare(model, found_pool(root))
    assert sorted(map(len, halves)) == [2, 3]
    assert torch.equal(lines, scorer._lines)
    monkeypatch.setattr(scorer, 'prepare', lambda *args: None)
    two = score_in_two_processes(monkeypatch, root, model, scorer, found_pool)
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-3)
        for name in ('class_weights', 'weighted_entropy'):
            np.testing.assert_allclose(other.columns[name], one.columns[name],
                                       rtol=1e-3)


def test_without_right_detections_scores_are_the_probabilities(
        root, mmdet_scope, warnings):
    model = DETECTORS['fcos']()
    scores = score_pool(model, LogisticUncertaintyScorer(),
                        partly_labelled_pool(root))
    assert len(warnings) == 1 and 'is right: the uncertainty' in warnings[0]
    best, data = {}, pool(root, 1)
    for batch in data.batches('unlabelled', model):
        found = describe(model, batch)[0]
        best[batch.ids[0]] = max(map(bits, found.scores.tolist()))
    np.testing.assert_allclose(scores.values, [best[i] for i in scores.ids],
                               rtol=1e-3)


def test_the_scores_of_a_query_that_goes_on(root, mmdet_scope):
    """Images that come later get the same columns."""
    model = labelled_detector(root, 'fcos')
    scorer = LogisticUncertaintyScorer()
    whole = score_pool(model, scorer, found_pool(root))
    known = whole.take(slice(0, 7))
    both = score_pool(model, scorer, found_pool(root), known=known)
    for name in ('class_weights', 'weighted_entropy'):
        np.testing.assert_allclose(both.columns[name], whole.columns[name],
                                   rtol=1e-6)


def test_the_selector_takes_what_it_gives(root, mmdet_scope):
    model = labelled_detector(root, 'fcos')
    scores = score_pool(model, LogisticUncertaintyScorer(),
                        found_pool(root))
    rows = np.random.default_rng(0).normal(size=(12, 4))
    chosen = ClassBudgets().select(scores, 5, rows)
    assert len(set(chosen)) == 5
    assert chosen != TopN().select(scores, 5)


@pytest.mark.parametrize('scorer', ['Random', 'Entropy', 'ClassBalance'])
@pytest.mark.parametrize('selector', [
    dict(type='mmal.ClassBudgets'),
    dict(type='mmal.TwoStage', first=dict(type='mmal.ClassBudgets'),
         then=dict(type='mmal.TopN'), keep=2.)])
def test_the_selector_refuses_other_scorers_before_training(
        root, mmdet_scope, scorer, selector):
    settings = Settings(
        data=dict(ann_file='pool.json'), selector=selector,
        scorer=dict(type=f'mmal.{scorer}Scorer'), budget=dict(size=1))
    query = Query(settings, coco=None, img_prefix='')
    with pytest.raises(ValueError, match='gives no weights of classes: set '
                       '.*LogisticUncertaintyScorer'):
        query.check(DETECTORS['fcos'](), partly_labelled_pool(root).splits)


def test_nothing_detected(root, mmdet_scope):
    model = DETECTORS['fcos']()
    scores = score_pool(model, LogisticUncertaintyScorer(score_thr=1.),
                        partly_labelled_pool(root))
    assert (scores.values == -np.inf).all()
    assert not scores.columns['class_weights'].any()
    order = list(ClassBudgets().with_draws(3).order(scores, np.eye(12)))
    assert order == [scores.ids[i] for i in np.argsort(scores.tiebreak)]


def test_one_pass_of_each_image(root, mmdet_scope):
    model, passes = labelled_detector(root, 'faster_rcnn'), []
    data = found_pool(root)
    model.backbone.register_forward_hook(lambda *args: passes.append(1))
    score_pool(model, LogisticUncertaintyScorer(), data)
    assert len(passes) == 12 + 5


@pytest.mark.parametrize('kwargs, message', [
    (dict(score_thr=2), 'score_thr is 2'),
    (dict(iou_thr=0), 'iou_thr is 0: give an IoU above 0'),
    (dict(min_detections=1), 'min_detections is 1: give at least 2'),
    (dict(penalty=0), 'penalty is 0: give a number above 0')])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LogisticUncertaintyScorer(**kwargs)


def test_heads_it_cannot_read_are_refused_before_training(mmdet_scope):
    scorer = LogisticUncertaintyScorer()
    for name in ('atss', 'ssd', 'faster_rcnn'):
        scorer.check(DETECTORS[name](), None)
    for name in ('yolox', 'yolov3', 'detr'):
        with pytest.raises(ValueError, match='does not know how to of'):
            scorer.check(DETECTORS[name](), None)


def test_examples():
    assert doctest.testmod(module).failed == 0

"""Hierarchical uncertainty against loops over detections and anchors."""
import itertools

import numpy as np
import pytest
import torch
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import tiny_fcos
from helpers.tiny_evidential import tiny_evidential
from scipy.special import digamma

from mmal.models.utils import level_grid
from mmal.registry import TASK_UTILS
from mmal.scoring import HierarchicalUncertaintyScorer, score_pool
from mmal.scoring.detections.predict import detect

REDUCE = dict(sum=np.sum, mean=np.mean, max=np.max)
CLASSES = 3


@pytest.fixture(scope='module', params=[True, False])
def model(request):
    return tiny_evidential(background=request.param)


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


def information(alpha):
    """Mutual information: entropy of the mean minus the mean entropy."""
    mean = alpha / alpha.sum()
    entropy = -(mean * np.log(mean.clip(1e-300))).sum()
    return entropy - (mean * (digamma(alpha.sum() + 1)
                              - digamma(alpha + 1))).sum()


@torch.no_grad()
def anchors_by_hand(model, batch, limit):
    """(level, box, p, predicted loss) of the best anchors of one image."""
    head = model.bbox_head
    feats = model.extract_feat(batch.inputs)
    cls_scores, deltas = head(feats)
    probs = head.class_probabilities(cls_scores, deltas)[0]
    grid = level_grid(head, (cls_scores, ))
    priors = torch.cat(head.prior_generator.grid_priors(
        [(h, w) for h, w, _ in grid], device='cpu'))
    boxes = head.bbox_coder.decode(
        priors, torch.cat([d[0].permute(1, 2, 0).reshape(-1, 4)
                           for d in deltas]),
        max_shape=batch.samples[0].img_shape)
    losses = torch.cat([x[0].permute(1, 2, 0).flatten()
                        for x in head.predicted_losses(feats)])
    start, kept = 0, []
    for level, (h, w, a) in enumerate(grid):
        rows = range(start, start + h * w * a)
        start += h * w * a
        rows = sorted(rows, key=lambda i: -float(probs[i, :CLASSES].max()))
        kept += [(level, boxes[i].tolist(), probs[i].double().numpy(),
                  float(losses[i])) for i in rows[:limit]]
    return kept


def by_hand(model, data, steps=('sum', 'max', 'sum'), score_thr=.3,
            iou_thr=.5, evidence=25., limit=100):
    scores, numbers = {}, {}
    over_classes, over_levels, over_objects = (REDUCE[s] for s in steps)
    for batch in data.batches('unlabelled', model):
        found = detect(model, batch)[0]
        objects = [box for box, p in zip(found.bboxes.tolist(),
                                         found.scores.tolist())
                   if p >= score_thr]
        anchors = [a for a in anchors_by_hand(model, batch, limit)
                   if a[2][:CLASSES].max() >= score_thr]
        pairs = [(o, a) for o, box in enumerate(objects) for a in anchors
                 if iou(box, a[1]) > iou_thr]
        mean = {s: np.mean([a[3] for _, a in pairs if a[0] == s])
                for s in {a[0] for _, a in pairs}}
        cells = {}
        for o, (level, _, p, loss) in pairs:
            cell = cells.setdefault(o, {}).setdefault(level, {})
            cell.setdefault(p[:CLASSES].argmax(), []).append(
                information(evidence * mean[level] / loss * p))
        of_objects = [
            over_levels([over_classes([np.mean(v) for v in of_level.values()])
                         for of_level in of_object.values()])
            for of_object in cells.values()]
        scores[batch.ids[0]] = over_objects(of_objects) if of_objects else 0.
        numbers[batch.ids[0]] = len(objects)
    return [[of[i] for i in data.ids('unlabelled')]
            for of in (scores, numbers)]


def threshold(model, data):
    """In the middle of the widest gap in the middle of the scores."""
    scores = torch.cat([detect(model, b)[0].scores
                        for b in data.batches('unlabelled', model)])
    scores = scores.double().sort().values
    third = scores[len(scores) // 3:len(scores) * 2 // 3]
    gap = int(third.diff().argmax())
    return float(third[gap:gap + 2].mean())


@pytest.mark.parametrize('steps', list(itertools.product(
    ('sum', 'mean'), ('max', 'sum'), ('sum', 'mean', 'max'))))
def test_scores_equal_loops(model, tmp_path, mmdet_scope, steps):
    data = pool(tmp_path, batch_size=1)
    thr = threshold(model, data)
    expected, numbers = by_hand(model, data, steps, thr)
    scorer = HierarchicalUncertaintyScorer(*steps, score_thr=thr)
    scores = score_pool(model, scorer, pool(tmp_path))
    assert scores.values == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert scores.columns['objects'].tolist() == numbers
    assert np.std(scores.values) > 0


@pytest.mark.parametrize('options', [
    dict(iou_thr=.2), dict(iou_thr=.7), dict(evidence=3.)])
def test_options(model, tmp_path, mmdet_scope, options):
    data = pool(tmp_path, batch_size=1)
    thr = threshold(model, data)
    default, _ = by_hand(model, data, score_thr=thr)
    expected, _ = by_hand(model, data, score_thr=thr, **options)
    assert expected != default
    scores = score_pool(
        model, HierarchicalUncertaintyScorer(score_thr=thr, **options),
        pool(tmp_path))
    assert scores.values == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('limit', [3, -1])
def test_the_best_anchors_of_each_level(tmp_path, mmdet_scope, limit):
    """As many as NMS sees."""
    model = tiny_evidential()
    model.bbox_head.test_cfg.nms_pre = limit
    data = pool(tmp_path, batch_size=1)
    expected, _ = by_hand(model, data, score_thr=.3,
                          limit=limit if limit > 0 else None)
    scores = score_pool(
        model, HierarchicalUncertaintyScorer(score_thr=.3), pool(tmp_path))
    assert scores.values == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_anchors_of_little_predicted_loss_are_sure(tmp_path, mmdet_scope):
    """The evidence head decides, and only by what is relative to a level."""
    model = tiny_evidential()
    scorer = HierarchicalUncertaintyScorer(score_thr=.2)
    head = model.bbox_head.retina_evidence
    first = score_pool(model, scorer, pool(tmp_path)).values
    with torch.no_grad():
        head.weight.zero_()
        flat = []
        for level in (0., 3.):  # all anchors alike: whatever their loss
            head.bias.fill_(level)
            flat.append(score_pool(model, scorer, pool(tmp_path)).values)
    assert flat[0] == pytest.approx(flat[1], rel=1e-5)
    assert not np.allclose(first, flat[0], rtol=1e-3)


def test_an_image_without_an_object_comes_last(model, tmp_path, mmdet_scope):
    scores = score_pool(
        model, HierarchicalUncertaintyScorer(score_thr=1.), pool(tmp_path))
    assert (scores.values == 0).all()
    assert (scores.columns['objects'] == 0).all()


def test_scores_do_not_depend_on_processes(
        model, tmp_path, mmdet_scope, monkeypatch):
    scorer = HierarchicalUncertaintyScorer(score_thr=.2)
    alone = score_pool(model, scorer, pool(tmp_path))
    for size in (1, 5):
        other = score_pool(model, scorer, pool(tmp_path, batch_size=size))
        assert other.values == pytest.approx(alone.values, rel=1e-4)
    both = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    assert both.values == pytest.approx(alone.values, rel=1e-4)


@pytest.mark.parametrize('options, message', [
    (dict(over_classes='min'), "over_classes is 'min'"),
    (dict(over_levels=None), 'over_levels is None'),
    (dict(score_thr=2), 'score_thr is 2'),
    (dict(iou_thr=1), 'iou_thr is 1'),
    (dict(evidence=0), 'evidence is 0')])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        TASK_UTILS.build(dict(
            type='mmal.HierarchicalUncertaintyScorer', **options))


def test_check_wants_an_evidence_head(model, mmdet_scope):
    scorer = HierarchicalUncertaintyScorer()
    scorer.check(model, None)
    with pytest.raises(ValueError, match='EvidentialRetinaHead'):
        scorer.check(tiny_fcos(), None)

"""AL-SSL's score, anchor by anchor in an image that is mirrored by hand."""
import math

import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS
from helpers.pools import pool, score_in_two_processes
from torch import nn

from mmal.models.utils import head_outputs
from mmal.registry import TASK_UTILS
from mmal.scoring import FlipInconsistencyScorer, score_pool
from mmal.scoring.dense.probabilities import class_probabilities
from mmal.scoring.detections.describe import describe
from mmal.scoring.detections.flip_inconsistency_scorer import (
    opposite_positions,
)
from mmal.selection import Quota, TopN, TwoStage

REDUCE = dict(max=max, mean=np.mean, sum=sum)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def divergence(p, q):
    p, q = ([max(x, 1e-6) for x in y] for y in (p, q))
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q)) / 2


def by_hand(model, batch, aggregation, score_thr):
    """Entropy and inconsistency of one image."""
    found = describe(model, batch)[0]
    inputs = torch.from_numpy(batch.inputs.numpy()[..., ::-1].copy())
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
        probs = class_probabilities(model, outputs, background=True)[0]
    anchors = model.bbox_head.prior_generator.num_base_priors
    values = [], []
    for n, (source, score) in enumerate(zip(found.source.tolist(),
                                            found.scores.tolist())):
        if score < score_thr:
            continue
        place, start = source, 0
        for level, number in zip(outputs[0], anchors):
            height, width = level.shape[-2:]
            if place < height * width * number:
                break
            place -= height * width * number
            start += height * width * number
        cell, anchor = divmod(place, number)
        row, column = divmod(cell, width)
        place = start + (row * width + width - 1 - column) * number + anchor
        p = found.class_probs[n].tolist()
        q = probs[place].tolist()
        if len(p) == 4:
            values[0].append(entropy(p))
            values[1].append(divergence(p, q))
        else:
            values[0].append(sum(entropy([x, 1 - x]) for x in p))
            values[1].append(sum(divergence([a, 1 - a], [b, 1 - b])
                                 for a, b in zip(p, q)))
    return [REDUCE[aggregation](v) if v else -np.inf for v in values]


@pytest.mark.parametrize('name, aggregation, score_thr', [
    ('fcos', 'max', .3), ('retina_softmax', 'mean', .25),
    ('atss', 'sum', .3)])
def test_equals_anchors_one_by_one(root, mmdet_scope, name, aggregation,
                                   score_thr):
    model, truth = DETECTORS[name](), {}
    data = pool(root, 1)
    for batch in data.batches('unlabelled', model):
        truth[batch.ids[0]] = by_hand(model, batch, aggregation, score_thr)
    found = score_pool(
        model, FlipInconsistencyScorer(aggregation, score_thr),
        pool(root))
    both = np.array([truth[i] for i in found.ids])
    for n, key in enumerate(FlipInconsistencyScorer.gives_columns):
        np.testing.assert_allclose(found.columns[key], both[:, n], rtol=2e-3)
    score = np.where(np.isneginf(both[:, 0]), -np.inf, both.prod(1))
    np.testing.assert_allclose(found.values, score, rtol=4e-3)
    assert np.isfinite(score).sum() > 3 and both[np.isfinite(score)].std() > 0


def test_symmetric_images_are_consistent(mmdet_scope):
    """A detector whose kernels are their own mirror images sees the same."""
    model = DETECTORS['fcos']()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            with torch.no_grad():
                module.weight += module.weight.flip(-1).clone()
                module.weight /= 2
    inputs = torch.randn(1, 3, 96, 128,
                         generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
        probs, mirrored = (class_probabilities(model, head_outputs(model, x))
                           for x in (inputs, inputs.flip(-1)))
    opposite = opposite_positions(model.bbox_head, outputs)
    assert (opposite[opposite] == torch.arange(len(opposite))).all()
    # all but strided convolutions on an even number of pixels
    agree = (probs[0] - mirrored[0, opposite]).abs().mean()
    assert agree < (probs[0] - mirrored[0]).abs().mean()


def test_nothing_detected_comes_last(root, mmdet_scope):
    model = DETECTORS['fcos']()
    found = score_pool(model, FlipInconsistencyScorer(score_thr=1.),
                       pool(root))
    assert np.isneginf(found.values).all()
    assert not found.columns['detections'].any()


def test_neither_batches_nor_processes_matter(root, monkeypatch,
                                              mmdet_scope):
    model, scorer = DETECTORS['fcos'](), FlipInconsistencyScorer()
    one, four = (
        score_pool(model, scorer, pool(root, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, root, model, scorer)
    for other in four, two:
        np.testing.assert_allclose(
            other.values, one.values, rtol=1e-3, atol=1e-5)


def test_two_forward_passes_and_the_published_choice(root, mmdet_scope):
    model, passes = DETECTORS['fcos'](), []
    model.backbone.register_forward_hook(lambda *args: passes.append(1))
    scores = score_pool(model, FlipInconsistencyScorer(), pool(root, 1))
    assert len(passes) == 24
    chosen = TwoStage(Quota(dict(entropy=1)), Quota(dict(inconsistency=1)),
                      keep_images=5).select(scores, 3)
    entropy, inconsistency = (scores.columns[k] for k in (
        'entropy', 'inconsistency'))
    kept = np.argsort(-entropy)[:5]
    truth = kept[np.argsort(-inconsistency[kept])][:3]
    assert chosen == [scores.ids[i] for i in truth]
    assert TopN().select(scores, 1) == [
        scores.ids[np.argmax(entropy * inconsistency)]]


def test_mistakes_are_named(mmdet_scope):
    scorer = TASK_UTILS.build(dict(type='mmal.FlipInconsistencyScorer'))
    scorer.check(DETECTORS['retina'](), None)
    with pytest.raises(ValueError, match='all anchors'):
        scorer.check(DETECTORS['faster_rcnn'](), None)
    with pytest.raises(ValueError, match="aggregation is 'min'"):
        FlipInconsistencyScorer('min')
    with pytest.raises(ValueError, match='score_thr is 2'):
        FlipInconsistencyScorer(score_thr=2)

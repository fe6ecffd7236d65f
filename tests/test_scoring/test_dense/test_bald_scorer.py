"""BALD of the branch against loops over positions."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.dense_heads import detector, features
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import build_detector, tiny_fcos, tiny_fcos_config
from scipy.stats import norm

from mmal.registry import TASK_UTILS
from mmal.scoring import BALDScorer, score_pool
from mmal.scoring.batch import Batch
from mmal.scoring.dense.score_map import score_map

REDUCE = dict(mean=np.mean, max=np.max, sum=np.sum)
# what the branch predicts of an anchor, and the anchors of a position
HEADS = dict(
    yolov3=('mmal.BayesYOLOV3Head', 1, 2),
    retina=('mmal.BayesRetinaHead', 3, 4),
    fcos=('mmal.BayesFCOSHead', 3, 1))
ALL = pytest.mark.parametrize('name', HEADS)


def bayesian(name, **branch):
    return detector(name, type=HEADS[name][0], branch=branch)


def bald_by_hand(mean, std):
    """Equation 2 of one number, with scipy's normal distribution."""
    p = norm.cdf(mean / math.sqrt(std**2 + 1))
    entropy = -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)
    c = math.pi * math.log(2) / 2
    gone = math.sqrt(c / (std**2 + c)) * \
        math.exp(-mean**2 / (2 * (std**2 + c)))
    return min(max(entropy - gone, 0), 1)


def values_by_hand(name, model, inputs):
    """[B, P, C] of level, row, column, anchor, by loops."""
    _, classes, anchors = HEADS[name]
    images = []
    with torch.no_grad():
        levels = model.bbox_head.branch_moments(model.extract_feat(inputs))
    for b in range(len(inputs)):
        rows = []
        for mean, std in levels:
            for y in range(mean.shape[2]):
                for x in range(mean.shape[3]):
                    found = [bald_by_hand(m, s) for m, s in zip(
                        mean[b, :, y, x].tolist(), std[b, :, y, x].tolist())]
                    rows += np.reshape(found, (anchors, classes)).tolist()
        images.append(rows)
    return np.array(images)


def score(scorer, model, inputs):
    batch = Batch(list(range(len(inputs))), inputs)
    return scorer.process(model, batch)['score']


@ALL
@pytest.mark.parametrize('how', REDUCE)
def test_against_loops(mmdet_scope, name, how):
    model, inputs = bayesian(name), features()
    truth = values_by_hand(name, model, inputs)
    found = score(BALDScorer(how), model, inputs)
    assert found.dtype == torch.float64 and found.shape == (2, )
    np.testing.assert_allclose(
        found, REDUCE[how](truth.sum(-1), axis=1), rtol=1e-4)
    assert truth.max() > 0.05 and truth.std() > 0.005


@ALL
def test_one_pass_of_the_trunk_and_no_random_numbers(mmdet_scope, name):
    model, inputs = bayesian(name, samples=3), features()
    passes = []
    model.extract_feat = lambda x, old=model.extract_feat: (
        passes.append(1), old(x))[1]
    scorer, state = BALDScorer(), torch.get_rng_state()
    first = score(scorer, model, inputs)
    assert len(passes) == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(score(scorer, model, inputs), first)
    assert all(p.grad is None for p in model.parameters())
    assert not first.requires_grad


def bayes_fcos():
    """A detector for images; the spread of its branch differs with them."""
    cfg = tiny_fcos_config()
    cfg['bbox_head'].update(
        type='mmal.BayesFCOSHead', branch=dict(scale=2.0))

    def widen(model):
        with torch.no_grad():
            model.bbox_head.branch[0][-1].weight.normal_(std=0.3)
    return build_detector(cfg, change=widen).eval()


@pytest.mark.parametrize('how', ['mean', 'max'])
def test_neither_batches_nor_processes_matter(tmp_path, monkeypatch,
                                              mmdet_scope, how):
    model, scorer = bayes_fcos(), BALDScorer(how)
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    assert one.ids == four.ids == two.ids
    assert np.ptp(one.values) > 1e-4
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4)


@ALL
def test_map(mmdet_scope, name):
    """The largest anchor and level at each pixel."""
    model, inputs = bayesian(name), features()
    truth = torch.tensor(values_by_hand(name, model, inputs).sum(-1))
    anchors = HEADS[name][2]
    first, second = (
        part.reshape(2, h, w, anchors).amax(-1)[:, None]
        for part, h, w in zip(truth.split([24 * anchors, 6 * anchors], 1),
                              (4, 2), (6, 3)))
    large = F.interpolate(second, (4, 6), mode='bilinear')
    found = score_map(BALDScorer(), model, Batch([0, 1], inputs))
    torch.testing.assert_close(
        found.double(), torch.maximum(first, large)[:, 0], rtol=1e-4,
        atol=1e-6)


def test_a_class_has_a_map_where_the_branch_predicts_classes(mmdet_scope):
    scorer, batch = BALDScorer(), Batch([0, 1], features())
    model = bayesian('fcos')
    truth = values_by_hand('fcos', model, batch.inputs)[..., 2]
    np.testing.assert_allclose(
        scorer.map_values(model, batch, 2), truth, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='of its objectness'):
        scorer.map_values(bayesian('yolov3'), batch, 0)


def test_mistakes(mmdet_scope):
    with pytest.raises(ValueError, match='aggregation is .median'):
        BALDScorer('median')
    scorer = BALDScorer()
    with pytest.raises(ValueError, match='FCOSHead does not.*type to mmal.B'):
        scorer.check(tiny_fcos(), None)
    scorer.check(bayes_fcos(), None)
    cfg = tiny_fcos_config()
    cfg['bbox_head'].update(
        type='mmal.BayesFCOSHead', branch=dict(bayes=False))
    with pytest.raises(ValueError, match='no uncertainty'):
        scorer.check(build_detector(cfg).eval(), None)


def test_config_builds_it():
    scorer = TASK_UTILS.build(
        dict(type='mmal.BALDScorer', aggregation='max'))
    assert scorer.aggregation == 'max'
    assert not scorer.uses_committee and not scorer.needs_labels

"""Maps of dense scorers against loops over positions."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.dense_heads import HEADS, detector, features
from test_entropy_scorer import Data, Members

from mmal.models.utils import level_grid
from mmal.models.utils.per_image import head_outputs
from mmal.scoring import EntropyScorer, MutualInformationScorer
from mmal.scoring.batch import Batch
from mmal.scoring.dense.score_map import level_maps, score_map


def prepared(scorer, model, committee=None):
    scorer.prepare(model, Data(committee))
    inputs = features()
    return scorer, model, Batch([0, 1], inputs)


def by_hand(values, grid):
    """The largest anchor of each position, by loops in mmdet's order."""
    maps, row = [], 0
    for height, width, anchors in grid:
        level = np.zeros((len(values), height, width))
        for y in range(height):
            for x in range(width):
                level[:, y, x] = values[:, row:row + anchors].max(1)
                row += anchors
        maps.append(level)
    assert row == values.shape[1]
    return maps


@pytest.mark.parametrize('name', HEADS)
def test_levels(mmdet_scope, name):
    scorer, model, batch = prepared(EntropyScorer(), detector(name))
    grid = level_grid(model.bbox_head, head_outputs(model, batch.inputs))
    assert [g[:2] for g in grid] == [(4, 6), (2, 3)]
    values = scorer.values(model, batch).positions
    truth = by_hand(values.numpy(), grid)
    for found, level in zip(level_maps(values, grid), truth):
        np.testing.assert_allclose(found, level)


@pytest.mark.parametrize('name', ['ssd', 'retina'])
def test_the_largest_level_counts(mmdet_scope, name):
    scorer, model, batch = prepared(EntropyScorer(), detector(name))
    grid = level_grid(model.bbox_head, head_outputs(model, batch.inputs))
    first, second = level_maps(scorer.values(model, batch).positions, grid)
    large = F.interpolate(second[:, None], (4, 6), mode='bilinear')[:, 0]
    found = score_map(scorer, model, batch)
    torch.testing.assert_close(found, torch.maximum(first, large))
    assert (large > first).any() and (first > large).any()


@pytest.mark.parametrize('weights', [None, [0.0, 3.0, 0.5]])
def test_classes_and_their_weights(mmdet_scope, weights):
    scorer, model, batch = prepared(
        EntropyScorer(classes='separate', class_weights=weights),
        detector('retina'))
    classes = scorer.values(model, batch).classes
    largest = (classes * torch.tensor(weights or [1.0] * 3)).amax(-1)
    grid = level_grid(model.bbox_head, head_outputs(model, batch.inputs))
    for index, values in ((None, largest), (1, classes[..., 1])):
        truth = torch.stack([
            F.interpolate(level[:, None], (4, 6), mode='bilinear')[:, 0]
            for level in level_maps(values, grid)]).amax(0)
        torch.testing.assert_close(
            score_map(scorer, model, batch, index), truth)


def test_a_committee(mmdet_scope):
    models = [detector('fcos', seed) for seed in range(3)]
    scorer = MutualInformationScorer()
    found = score_map(*prepared(scorer, models[0], Members(models)))
    same = score_map(*prepared(scorer, models[0], Members(models[:1] * 3)))
    assert (found > 1e-4).any() and (same < 1e-5).all()


@pytest.mark.parametrize('models', [1, 3])
def test_no_pass_but_the_scorers_own(mmdet_scope, models):
    heads = [detector('fcos', seed) for seed in range(models)]
    seen = []
    heads[0].bbox_head.register_forward_hook(lambda *_: seen.append(1))
    prepared_ = prepared(EntropyScorer(), heads[0],
                         Members(heads) if models > 1 else None)
    score_map(*prepared_)
    assert len(seen) == 1
    assert len(heads[0].bbox_head._forward_hooks) == 1


def test_a_scorer_that_asks_others_alone(mmdet_scope):
    model, other = detector('fcos', 0), detector('fcos', 1)
    found = score_map(*prepared(EntropyScorer(), model, Members([other])))
    torch.testing.assert_close(
        found, score_map(*prepared(EntropyScorer(), other)))

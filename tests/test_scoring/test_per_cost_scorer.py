"""Any scorer's value per expected cost."""
from functools import partial

import numpy as np
import pytest
from helpers.influence_by_hand import scoring_data
from helpers.tiny import tiny_fcos
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.dense_heads import FCOSHead

from mmal.registry import TASK_UTILS
from mmal.scoring import PerCostScorer, detect, score_pool

SCORERS = dict(
    random=dict(type='mmal.RandomScorer'),
    entropy=dict(type='mmal.EntropyScorer'),
    detections=dict(type='mmal.DetectionEntropyScorer'),
    influence=dict(type='mmal.InfluenceScorer', empty='background',
                   solver=dict(type='mmal.Identity')),
    stability=dict(type='mmal.LocalizationStabilityScorer', levels=[8]))


@pytest.fixture
def data(tmp_path, mmdet_scope):
    return partial(scoring_data, tmp_path)


def boxes_by_hand(model, data):
    """Image -> sum of the scores of its detections, by a pass of its own."""
    return {i: row.sum() for i, row in classes_by_hand(model, data).items()}


def classes_by_hand(model, data):
    """Image -> those of the three classes, [3]."""
    sums = {}
    for batch in data.batches('unlabelled', model):
        sums[batch.ids[0]] = np.zeros(3)
        for found in detect(model, batch)[0]:
            sums[batch.ids[0]][int(found.labels)] += float(found.scores)
    return sums


@pytest.mark.parametrize('name', sorted(SCORERS))
@pytest.mark.parametrize('build', [tiny_fcos, tiny_faster_rcnn])
@pytest.mark.parametrize('costs', [(1., 0.), (1., 2.5), (0., 1.)])
def test_scores_are_divided_by_the_expected_cost(name, build, costs, data):
    model = build()
    if build is tiny_faster_rcnn and name == 'entropy':
        pytest.skip('dense probabilities are of one stage')
    plain = score_pool(model, TASK_UTILS.build(dict(SCORERS[name])), data())
    scorer = PerCostScorer(dict(SCORERS[name]))
    scorer.check(model, data(costs=costs))
    scores = score_pool(model, scorer, data(costs=costs))
    boxes = boxes_by_hand(model, data(batch_size=1))
    cost = np.array([costs[0] * max(boxes[i], 1) + costs[1]
                     for i in scores.ids])
    np.testing.assert_allclose(scores.values, plain.values / cost, rtol=1e-4)
    by_class = classes_by_hand(model, data(batch_size=1))
    by_class = np.stack([by_class[i] for i in scores.ids])
    assert (by_class > 0).any(0).sum() > 1
    # whoever detects counts the same boxes
    assert ('class_boxes' in plain.columns) == (
        name not in ('random', 'entropy'))
    for found in (plain, scores):
        if 'class_boxes' in found.columns:
            np.testing.assert_allclose(found.columns['class_boxes'], by_class,
                                       rtol=1e-3, atol=1e-4)
    for column in plain.columns:
        if column == 'class_scores':
            np.testing.assert_allclose(
                scores.columns[column],
                plain.columns[column] / cost[:, None], rtol=1e-4)


def test_one_forward_pass_serves_both(data, monkeypatch):
    model, calls = tiny_fcos(), []
    forward = FCOSHead.forward
    monkeypatch.setattr(FCOSHead, 'forward', lambda self, x: calls.append(
        len(x[0])) or forward(self, x))
    # which looks at noisy images too
    for name in sorted(SCORERS.keys() - {'stability'}):
        calls.clear()
        scorer = PerCostScorer(dict(SCORERS[name]))
        scorer.prepare(model, data())
        calls.clear()
        batches = list(data().batches('unlabelled', model))
        for batch in batches:
            scorer.process(model, batch)
        assert calls == [len(b) for b in batches]


def test_it_is_what_the_other_scorer_is():
    scorer = PerCostScorer(dict(SCORERS['influence']))
    assert scorer.needs_labels and scorer.may_be_negative
    assert scorer.needs_images and not scorer.needs_committee
    scorer = PerCostScorer(dict(SCORERS['random']))
    assert scorer.needs_images and not scorer.may_be_negative
    assert PerCostScorer(dict(SCORERS['entropy'])).gives_class_scores


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 5)), min_size=1,
                max_size=9), st.integers(1, 20))
def test_no_choice_of_equal_cost_is_worth_more(images, size):
    """Brute force, of values of both signs."""
    value, cost = np.array(images).T
    order = np.argsort(-value / cost, kind='stable')
    spent = np.cumsum(cost[order])
    number = int((spent <= size).sum())
    mine, paid = value[order[:number]].sum(), spent[number - 1] if number \
        else 0
    masks = np.array(np.meshgrid(*[[0, 1]] * len(images))).reshape(
        len(images), -1).T
    alike = masks[masks @ cost == paid]
    assert mine == (alike @ value).max()

"""Several scorers as one."""
from functools import partial

import numpy as np
import pytest
from helpers.influence_by_hand import scoring_data
from helpers.tiny import tiny_fcos
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.backbones import ResNet
from mmdet.models.dense_heads import FCOSHead
from torch import nn

from mmal.models.committees import DropoutCommittee
from mmal.registry import TASK_UTILS
from mmal.scores import Scores
from mmal.scoring import (
    CombinedScorer,
    LayerEmbedder,
    PerCostScorer,
    score_pool,
)
from mmal.scoring.combined_scorer import combine
from mmal.scoring.embeddings.store import EmbeddingFile
from mmal.selection import Quota

PARTS = dict(
    random=dict(type='mmal.RandomScorer'),
    entropy=dict(type='mmal.EntropyScorer'),
    detections=dict(type='mmal.DetectionEntropyScorer', score_thr=.3),
    influence=dict(type='mmal.InfluenceScorer', empty='background',
                   solver=dict(type='mmal.Identity')),
    stability=dict(type='mmal.LocalizationStabilityScorer', levels=[8]))
NUMBERS = st.floats(-1e3, 1e3)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


@pytest.fixture
def data(root, mmdet_scope):
    return partial(scoring_data, root)


@pytest.mark.parametrize('build, names', [
    (tiny_fcos, sorted(PARTS)),
    (tiny_faster_rcnn, ['detections', 'influence', 'stability'])])
def test_parts_are_what_they_are_alone(build, names, data):
    model, expected = build(), {}
    for name in names:
        plain = score_pool(model, TASK_UTILS.build(dict(PARTS[name])), data())
        expected[name] = plain.values
    scorer = CombinedScorer({name: PARTS[name] for name in names})
    scorer.check(model, data())
    scores = score_pool(model, scorer, data())
    for name in names:
        np.testing.assert_allclose(scores.columns[name], expected[name],
                                   rtol=1e-5, atol=1e-7)
    finite = np.all([v > -np.inf for v in expected.values()], 0)
    np.testing.assert_array_equal(scores.values > -np.inf, finite)
    np.testing.assert_allclose(
        scores.values[finite], combine(
            {n: scores.columns[n][finite] for n in names}, 'rank_sum',
            dict.fromkeys(names, 1.)))


def test_expected_boxes_of_classes_are_those_of_a_part(data):
    model = tiny_fcos()
    plain = score_pool(model, TASK_UTILS.build(dict(PARTS['detections'])),
                       data()).columns['class_boxes']
    scores = score_pool(model, CombinedScorer({n: PARTS[n] for n in (
        'entropy', 'detections', 'stability')}), data())
    np.testing.assert_allclose(scores.columns['class_boxes'], plain,
                               rtol=1e-5)
    assert not [c for c in scores.columns if c.endswith('.class_boxes')]


def count_passes(monkeypatch):
    calls = dict(backbone=0, head=0)
    for kind, name in ((ResNet, 'backbone'), (FCOSHead, 'head')):
        def counted(self, x, forward=kind.forward, name=name):
            calls[name] += 1
            return forward(self, x)
        monkeypatch.setattr(kind, 'forward', counted)
    return calls


def test_one_forward_pass_serves_all(data, monkeypatch):
    model, calls = tiny_fcos(), count_passes(monkeypatch)
    scorer = CombinedScorer({n: PARTS[n] for n in (
        'entropy', 'detections', 'random')} | dict(
            margin=dict(type='mmal.MarginScorer')))
    batches = list(data().batches('unlabelled', model))
    score_pool(model, scorer, data())
    assert calls == dict(backbone=len(batches), head=len(batches))


def test_nothing_is_shared_with_dropout(data, monkeypatch):
    """Its passes differ."""
    model, calls = tiny_fcos(), count_passes(monkeypatch)
    model.neck.fpn_convs[0].add_module('dropout', nn.Dropout(.5))
    images = data(committee=DropoutCommittee(passes=3))
    images.committee.prepare(model)
    scorer = CombinedScorer(dict(
        entropy=PARTS['entropy'],
        information=dict(type='mmal.MutualInformationScorer')))
    assert scorer.needs_committee
    scores = score_pool(model, scorer, images)
    assert scores.columns['information'].min() > 0
    assert calls['head'] >= 6


def test_hooks_inside_see_every_pass(data, tmp_path):
    """Embeddings of a layer are those without other readers."""
    rows = []
    for n, scorer in enumerate((PARTS['detections'], dict(
            type='mmal.CombinedScorer',
            scorers={k: PARTS[k] for k in ('entropy', 'detections')}))):
        images = data(embedder=LayerEmbedder('bbox_head.cls_convs.0'))
        scores = score_pool(
            tiny_fcos(), TASK_UTILS.build(dict(scorer)), images,
            embeddings=EmbeddingFile(str(tmp_path / f'{n}.npy')))
        rows.append(np.array(scores.embeddings))
    np.testing.assert_array_equal(*rows)


def test_known_images_are_not_scored_again(data, tmp_path):
    """Ranks are of all of them again."""
    model = tiny_fcos()
    scorer = CombinedScorer({n: PARTS[n] for n in ('entropy', 'random')})
    full = score_pool(model, scorer, data())
    for rows in (slice(0, 3), slice(0, 6)):
        full.take(rows).save(str(tmp_path / 'scores.npz'))
        known = Scores.load(str(tmp_path / 'scores.npz'))
        again = score_pool(model, scorer, data(), known=known)
        assert again.ids == full.ids
        np.testing.assert_allclose(again.values, full.values)
        np.testing.assert_allclose(again.columns['entropy'],
                                   full.columns['entropy'])


def test_per_cost_keeps_the_parts(data):
    scorer = PerCostScorer(dict(
        type='mmal.CombinedScorer', rule='product',
        scorers={n: PARTS[n] for n in ('entropy', 'random')}))
    model = tiny_fcos()
    scorer.check(model, data(costs=(1., 1.)))
    scores = score_pool(model, scorer, data(costs=(1., 1.)))
    np.testing.assert_allclose(
        scores.values * scores.columns['expected_cost'],
        scores.columns['entropy'] * scores.columns['random'])
    assert scorer.gives_columns == ('entropy', 'random')


def test_a_quota_may_take_what_a_part_gives(data):
    scorer = CombinedScorer(dict(
        ssl=dict(type='mmal.FlipInconsistencyScorer'),
        random=PARTS['random']))
    scores = score_pool(tiny_fcos(), scorer, data())
    assert set(scorer.gives_columns) == {
        'ssl', 'random', 'ssl.entropy', 'ssl.inconsistency'}
    first = Quota({'ssl.entropy': 1}).select(scores, 1)
    assert first == [scores.ids[scores.columns['ssl.entropy'].argmax()]]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12),
       st.floats(.1, 9), st.floats(.1, 9))
def test_rules_are_their_formulas(pairs, v, w):
    a, b = np.array(pairs).T
    parts, weights = dict(a=a, b=b), dict(a=v, b=w)
    below = [[(x < y).sum() + (x == y).sum() / 2 for y in x] for x in (a, b)]
    np.testing.assert_allclose(
        combine(parts, 'rank_sum', weights),
        (v * np.array(below[0]) + w * np.array(below[1])) / len(a))
    np.testing.assert_allclose(
        combine({k: abs(x) for k, x in parts.items()}, 'product', weights),
        abs(a)**v * abs(b)**w)
    expected = np.zeros(len(a))
    for x, weight in ((a, v), (b, w)):
        if np.ptp(x) > 1e-3:  # else rounding of this formula counts
            expected += weight * (x - x.mean()) / x.std()
        elif np.ptp(x) > 0:
            return
    np.testing.assert_allclose(combine(parts, 'sum', weights), expected,
                               atol=1e-6)


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_ranks_do_not_see_how_values_are_spread(values):
    a = np.round(values, 2)
    b, one = np.arange(len(a)) % 3 * 1., dict(a=1., b=1.)
    np.testing.assert_array_equal(
        combine(dict(a=a, b=b), 'rank_sum', one),
        combine(dict(a=np.exp(a / 100), b=b), 'rank_sum', one))


class Given:
    """A scorer whose values are given."""

    def __init__(self, values):
        self.values = values

    def compute(self, columns):
        return np.array(self.values)


def scorer_of(rule, **parts):
    scorer = CombinedScorer(
        dict.fromkeys(parts, PARTS['random']), rule=rule)
    scorer.scorers = {name: Given(v) for name, v in parts.items()}
    columns = {f'{name}.score': np.array(v) for name, v in parts.items()}
    return lambda: scorer.compute(columns)


@pytest.mark.parametrize('rule', ['rank_sum', 'sum', 'product'])
def test_what_any_part_puts_last_is_last(rule):
    inf = np.inf
    values = scorer_of(rule, a=[1., -inf, 3., 2.], b=[5., 9., -inf, 7.])()
    np.testing.assert_array_equal(values > -inf, [True, False, False, True])
    alone = scorer_of(rule, a=[1., 2.], b=[5., 7.])()
    np.testing.assert_array_equal(values[[0, 3]], alone)
    assert (scorer_of(rule, a=[1., -inf], b=[-inf, 2.])() == -inf).all()


def test_values_that_do_not_suit_a_rule_are_named():
    with pytest.raises(ValueError, match='part b gives 1 of 2 images .* -2'):
        scorer_of('product', a=[1., 1.], b=[1., -2.])()
    with pytest.raises(ValueError, match='part a gives 1 of 2 images .* inf'):
        scorer_of('sum', a=[1., np.inf], b=[1., -2.])()
    assert scorer_of('rank_sum', a=[1., np.inf], b=[0., 0.])()[1] == 1.25
    with pytest.raises(ValueError, match='scorers.a gives 1 of 2 images NaN'):
        scorer_of('rank_sum', a=[1., np.nan], b=[0., 0.])()


def test_it_is_what_its_parts_are(data):
    scorer = CombinedScorer({n: PARTS[n] for n in ('random', 'influence')})
    assert scorer.needs_images and scorer.needs_labels
    assert not scorer.needs_committee and not scorer.may_be_negative
    assert CombinedScorer(dict(a=PARTS['entropy']), 'sum').may_be_negative
    assert not CombinedScorer(dict(a=PARTS['random'])).needs_images
    product = CombinedScorer(
        {n: PARTS[n] for n in ('random', 'influence')}, 'product')
    with pytest.raises(ValueError, match='influence may be negative'):
        product.check(tiny_fcos(), data())


@pytest.mark.parametrize('options, message', [
    (dict(scorers={}), 'at least one part'),
    (dict(scorers={'a.b': PARTS['random']}), 'without a dot'),
    (dict(scorers={'score': PARTS['random']}), 'without a dot'),
    (dict(scorers={'class_boxes': PARTS['random']}), "or 'class_boxes'"),
    (dict(scorers=dict(a=PARTS['random']), rule='max'), "rule is 'max'"),
    (dict(scorers=dict(a=PARTS['random']), weights=dict(b=1.)), 'names b'),
    (dict(scorers=dict(a=PARTS['random']), weights=dict(a=0.)),
     'weights.a is 0')])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CombinedScorer(**options)

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmal.reporting.score_summary import BINS, summarise_scores
from mmal.scores import Scores

VALUES = st.lists(
    st.floats(-1e6, 1e6) | st.just(-math.inf), min_size=1, max_size=30)


@given(VALUES, st.data())
def test_places_cut_and_histogram_by_counting(values, data):
    ids = [f'i{n}' for n in range(len(values))]
    chosen = data.draw(st.lists(st.sampled_from(ids), unique=True))
    summary = summarise_scores(Scores(ids, values), chosen, [])
    of = dict(zip(ids, values))
    finite = [v for v in values if math.isfinite(v)]

    assert summary.candidates == len(values)
    assert summary.without == len(values) - len(finite)
    ranked = [i for i in chosen if math.isfinite(of[i])]
    assert summary.places == {
        i: 1 + sum(v > of[i] for v in finite) for i in ranked}
    if summary.edges:
        assert len(summary.edges) == BINS + 1
        assert sum(summary.chosen) == len(ranked)
        assert sum(summary.others) == len(finite) - len(ranked)
    others = [of[i] for i in ids if i not in chosen and math.isfinite(of[i])]
    lowest = min((of[i] for i in ranked), default=None)
    if lowest is None or lowest < max(others, default=-math.inf):
        assert summary.cut is None
    else:
        assert summary.cut == lowest


def test_histogram_counts_where_values_are():
    summary = summarise_scores(
        Scores('abcd', [0., 10., 5., 10.]), ['b'], [])
    assert summary.edges[0] == 0 and summary.edges[-1] == 10
    assert summary.chosen[-1] == 1 and summary.others[-1] == 1
    assert summary.others[0] == 1 and summary.others[BINS // 2] == 1


@pytest.mark.parametrize('values', [[3.0], [2.0, 2.0], [-np.inf, -np.inf],
                                    [1e308, -1e308], [1e16, 1e16 + 2]])
def test_values_without_a_spread(values):
    summary = summarise_scores(Scores(range(len(values)), values), [0], [])
    assert summary.candidates == len(values)
    assert not summary.edges or np.isfinite(summary.edges).all()


def test_parts_are_columns_of_the_image():
    scores = Scores('ab', [1., 2.], columns=dict(
        score=np.array([1., 2.]), objects=np.array([3, 4]),
        class_scores=np.array([[.1, .9, .5, .2], [0, np.nan, 1, 2]]),
        names=np.array(['x', 'y']), other=np.zeros((2, 3))))
    parts = summarise_scores(scores, ['a', 'b', 'elsewhere'],
                             ['w', 'x', 'y', 'z']).parts
    assert parts['a'] == [('objects', 3.0), ('class scores: x', 0.9),
                          ('class scores: y', 0.5), ('class scores: z', 0.2)]
    assert parts['b'][:3] == [('objects', 4.0), ('class scores: z', 2.0),
                              ('class scores: y', 1.0)]
    assert 'elsewhere' not in parts


def test_parts_of_a_combined_score_have_their_names():
    scores = Scores('ab', [1., 2.], columns={
        'entropy.score': np.array([1., 2.]), 'entropy': np.array([1., 2.]),
        'seen.score': np.array([5., 6.]), 'seen.objects': np.array([3, 4]),
        'seen': np.array([5., -np.inf])})
    parts = summarise_scores(scores, ['a', 'b'], []).parts
    assert parts['a'] == [('entropy', 1.), ('seen: objects', 3.), ('seen', 5.)]
    assert parts['b'] == [('entropy', 2.), ('seen: objects', 4.)]

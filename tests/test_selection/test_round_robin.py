import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scores import Scores
from mmal.selection import (
    BottomN,
    CoreSet,
    KMeansPlusPlus,
    RoundRobin,
    SparseModeling,
    TopN,
    TopThird,
)


def with_classes(table, values=None):
    table = np.array(table, float)
    scores = scores_of(table.max(1) if values is None else values)
    scores.columns = dict(class_scores=table)
    return scores


def by_hand(scores, n, classes):
    """In turn the highest value left, looked for anew each time."""
    table, chosen, turn, passed = scores.columns['class_scores'], [], 0, 0
    while len(chosen) < n and passed < len(classes):
        c = classes[turn % len(classes)]
        turn += 1
        left = [
            i for i in range(len(table))
            if i not in chosen and table[i, c] > -np.inf
            and scores.values[i] > -np.inf
        ]
        passed = 0 if left else passed + 1
        if left:
            chosen.append(
                min(left, key=lambda i: (-table[i, c], scores.tiebreak[i])))
    rest = sorted(
        set(range(len(table))) - set(chosen),
        key=lambda i: (-scores.values[i], scores.tiebreak[i]))
    return [scores.ids[i] for i in chosen + rest][:n]


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_equals_taking_in_turn_by_hand(data):
    number = data.draw(st.integers(1, 4))
    value = st.sampled_from([-np.inf, -1., 0., .5, 2.])
    row = st.lists(value, min_size=number, max_size=number)
    table = data.draw(st.lists(row, min_size=1, max_size=9))
    values = data.draw(
        st.lists(value, min_size=len(table), max_size=len(table)))
    classes = data.draw(
        st.lists(st.integers(0, number - 1), min_size=1, unique=True))
    scores = with_classes(table, values)
    for n in range(len(table) + 1):
        got = RoundRobin(TopN(), classes).select(scores, n)
        assert got == by_hand(scores, n, classes)


def test_all_classes_in_order_unless_told():
    scores = with_classes([[9, 1, 0], [8, 3, 0], [7, 2, 5]])
    assert RoundRobin(TopN()).select(scores, 3) == by_hand(
        scores, 3, [0, 1, 2])


def test_names_of_classes_and_a_config():
    scores = with_classes([[9, 1, 0], [8, 3, 0], [7, 2, 5]])
    names = ['car', 'person', 'bicycle']
    selector = RoundRobin(
        dict(type='mmal.TopN'), ['bicycle', 'person'], names)
    assert selector.select(scores, 2) == [scores.ids[2], scores.ids[1]]


def test_ranks_by_the_wrapped_selector():
    scores = with_classes([[9, 1], [8, 3], [7, 2]])
    assert RoundRobin(BottomN()).select(scores, 2) == [
        scores.ids[2], scores.ids[0]
    ]


@pytest.mark.parametrize('inner', [
    CoreSet(weighted=True),
    KMeansPlusPlus(start='labelled'),
    SparseModeling('euclidean', dtype='float16')
])
def test_embeddings_reach_the_wrapped_selector(inner):
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((20, 3)).astype('f4')
    scores = with_classes(rng.uniform(0, 1, (20, 2)))
    selector = RoundRobin(inner)
    for name in ('needs_embeddings', 'needs_labelled', 'needs_weights',
                 'embeddings_dtype'):
        assert getattr(selector, name) == getattr(inner, name)
    got = selector.select(scores, 7, embeddings, embeddings[:2])
    table = scores.columns['class_scores']
    first, second = (inner.with_seed_key('class', c).select(
        scores_of(table[:, c], scores.tiebreak), 7, embeddings,
        embeddings[:2]) for c in (0, 1))
    expected = []
    while len(expected) < 7:
        for ranking in (first, second):
            expected.append(next(i for i in ranking if i not in expected))
    assert got == expected[:7]
    assert len(set(selector.select(scores, 20, embeddings,
                                   embeddings[:2]))) == 20


@pytest.mark.parametrize('inner', [
    TopThird(), KMeansPlusPlus('random', weighted=False),
    CoreSet('random')])
def test_each_class_draws_anew(inner):
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((90, 3)).astype('f4')
    scores = with_classes(np.repeat(rng.uniform(0, 1, (90, 1)), 3, 1))
    alone = inner.select(scores, 9, embeddings)
    ones = [inner.with_seed_key('class', c).select(scores, 9, embeddings)
            for c in range(3)]
    assert len({*map(tuple, ones), tuple(alone)}) == 4
    taken = RoundRobin(inner).select(scores, 9, embeddings)
    assert taken[0] == ones[0][0] and set(taken) > {x[0] for x in ones}
    assert taken == RoundRobin(inner).select(scores, 9, embeddings)
    assert inner.select(scores, 9, embeddings) == alone  # nothing is left
    nested = RoundRobin(RoundRobin(inner)).select(scores, 9, embeddings)
    assert nested != taken and len(set(nested)) == 9


def test_a_copy_knows_which_one_it_is():
    inner = TopThird(seed=3)
    other = inner.with_seed_key('a').with_seed_key('b', 2)
    assert (other.seed, other.seed_key) == (3, ('a', 'b', 2))
    assert inner.seed_key == ()


def test_names_that_come_later():
    scores = with_classes([[9, 1, 0], [8, 3, 0], [7, 2, 5]])
    selector = RoundRobin(TopN(), ['bicycle', 1])
    with pytest.raises(ValueError, match='none are given'):
        selector.select(scores, 1)
    selector.check_classes(['car', 'person', 'bicycle'])
    assert selector.select(scores, 2) == [scores.ids[2], scores.ids[1]]
    with pytest.raises(ValueError, match='each once'):
        selector.check_classes(['car', 'bicycle'])


def test_the_wrapped_selector_knows_the_round():
    selector = RoundRobin(KMeansPlusPlus())
    selector.prepare(3)
    assert selector.selector.round == 3


def test_scores_of_a_run():
    table = np.array([[.9, .1], [.8, .2], [.0, .3]])
    scores = Scores([4, 5, 6], table.max(1), np.arange(3) / 3,
                    dict(class_scores=table))
    assert RoundRobin(TopN()).select(scores, 2) == [4, 6]
    assert RoundRobin(TopN()).select(scores.take([]), 0) == []


@pytest.mark.parametrize('kwargs, message', [
    (dict(classes=[]), 'name at least one'),
    (dict(classes=[1, 1]), 'each once'),
    (dict(classes=[-1], class_names=['dog']), 'counted from 0'),
    (dict(classes=['cat'], class_names=['dog']), r'\(dog\)'),
    (dict(selector=3), 'selector is 3, which is no selector'),
])
def test_unknown_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RoundRobin(**{'selector': TopN(), **kwargs})


def test_errors_say_what_is_wrong():
    scores = with_classes([[1., 2.], [3., 4.]])
    with pytest.raises(ValueError, match='cannot select 3 of 2'):
        RoundRobin(TopN()).select(scores, 3)
    with pytest.raises(ValueError, match='has 2 but .* only 2 classes, 0 to'):
        RoundRobin(TopN(), [2]).select(scores, 1)
    with pytest.raises(ValueError, match='no column .class_scores. .*no col'):
        RoundRobin(TopN()).select(scores_of([1., 2.]), 1)
    scores.columns = dict(class_scores=np.zeros(2))
    with pytest.raises(ValueError, match=r'shape \[2, C\]'):
        RoundRobin(TopN()).select(scores, 1)
    scores.columns = dict(class_scores=np.array([[0., 0.], [0., np.nan]]))
    with pytest.raises(ValueError, match='of image image 1 are NaN'):
        RoundRobin(TopN()).select(scores, 1)

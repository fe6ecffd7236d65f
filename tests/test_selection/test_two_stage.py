"""One selector keeps images, another chooses among them."""
import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sharing import in_processes

from mmal.scores import Scores
from mmal.selection import (
    BottomN,
    CoreSet,
    KMeansPlusPlus,
    Quota,
    RandomSubset,
    RoundRobin,
    TopN,
    TopThird,
    TwoStage,
)


def pool(values, seed=0):
    rng = np.random.default_rng(seed)
    scores = scores_of(values)
    rows = rng.standard_normal((len(values) + 2, 3)).astype('f4')
    return scores, rows[2:], rows[:2]


def by_hand(first, then, kept, scores, embeddings, labelled):
    """Each stage on its own."""
    ranking = list(first.order(scores, embeddings, labelled))
    rows = sorted(scores.ids.index(i) for i in ranking[:kept])
    second = then.order(
        Scores([scores.ids[r] for r in rows], scores.values[rows],
               scores.tiebreak[rows]), embeddings[rows], labelled)
    return [*second, *ranking[kept:]]


VALUES = st.lists(st.sampled_from([-np.inf, 0., .5, 1., 3.]), min_size=1,
                  max_size=15)
STAGES = [(TopN(), BottomN()), (TopN(), CoreSet()),
          (CoreSet('best'), TopN()), (BottomN(), CoreSet('best'))]


@pytest.mark.parametrize('first, then', STAGES)
@settings(deadline=None, max_examples=20)
@given(values=VALUES, kept=st.integers(1, 20), seed=st.integers(0, 9))
def test_the_second_chooses_among_what_the_first_keeps(first, then, values,
                                                       kept, seed):
    scores, embeddings, labelled = pool(values, seed)
    before = embeddings.copy(), scores.values.copy()
    stages = TwoStage(first, then, keep_images=kept)
    order = list(stages.order(scores, embeddings, labelled))
    assert order == by_hand(first, then, kept, scores, embeddings, labelled)
    np.testing.assert_array_equal(embeddings, before[0])
    np.testing.assert_array_equal(scores.values, before[1])


@given(n=st.integers(1, 12), keep=st.floats(1, 20))
def test_a_multiple_of_what_is_drawn_is_kept(n, keep):
    scores = [float(v) for v in range(30)]
    chosen = TwoStage(TopN(), BottomN(), keep=keep).select(scores, n)
    kept = min(30, int(np.ceil(keep * n)))
    assert chosen == list(range(30 - kept, 30))[:n]


def test_the_order_does_not_end_with_what_is_expected():
    stages = TwoStage(TopN(), BottomN(), keep=2.).with_draws(3)
    assert list(stages.order(range(9))) == [3, 4, 5, 6, 7, 8, 2, 1, 0]
    # the images that are drawn differ from those expected
    assert stages.select(range(9), 8) == [3, 4, 5, 6, 7, 8, 2, 1]
    with pytest.raises(ValueError, match='Give keep_images in place of keep'):
        TwoStage(TopN(), BottomN(), keep=2.).order(range(9))
    with pytest.raises(ValueError, match='Give keep_images'):
        stages.with_draws(None).order(range(9))


@pytest.mark.parametrize('wrap', [
    lambda s: RandomSubset(9, s), lambda s: RoundRobin(s),
    lambda s: Quota(dict(a=1), s), lambda s: TwoStage(TopN(), s, 9.),
    lambda s: TwoStage(s, TopN(), 1.)],
    ids=['subset', 'turns', 'quota', 'then', 'first'])
def test_others_pass_on_what_is_expected(wrap):
    scores = Scores(range(9), range(9), columns=dict(
        a=np.arange(9.), class_scores=np.arange(9.)[:, None]))
    inner = TwoStage(TopN(), BottomN(), keep=2.)
    assert wrap(inner).needs_draws
    assert sorted(wrap(inner).select(scores, 3)) == [3, 4, 5]


@pytest.mark.parametrize('then', [
    CoreSet(), KMeansPlusPlus(), KMeansPlusPlus(weighted=True, trials=3)])
@pytest.mark.parametrize('size, n', [(2, 30), (3, 30), (4, 3)])
def test_the_order_is_that_of_one_process(then, size, n):
    scores, embeddings, labelled = pool(np.arange(n) % 7 / 7.)
    scores.columns = dict(a=np.arange(n) % 5 * 1.)
    for first in (TopN(), TopThird(), Quota(dict(a=1))):
        selector = TwoStage(first, then, keep=2.).with_draws(max(1, n // 3))
        assert selector.can_share
        expected = list(selector.order(scores, embeddings, labelled))
        assert sorted(expected) == sorted(scores.ids)
        for count in (0, 1, n // 3, n // 2, n):
            got = in_processes(
                size, selector, scores, embeddings, labelled,
                lambda order, k=count: [i for i, _ in zip(order, range(k))])
            assert got == expected[:count]


def test_whoever_cannot_help_does_not():
    assert not TwoStage(TopN(), BottomN(), 2.).can_share
    assert not TwoStage(CoreSet(), CoreSet(), 2.).can_share


def test_it_needs_what_its_stages_need():
    stages = TwoStage(RoundRobin(TopN()), CoreSet(weighted=True), 2.)
    assert stages.needs_class_scores and stages.needs_embeddings
    assert stages.needs_labelled and stages.needs_weights
    assert stages.embeddings_dtype == 'float32'
    assert TwoStage(TopN(), CoreSet(), 2.).reads_scores
    assert not TwoStage(CoreSet(), CoreSet(), 2.).reads_scores
    stages.check_classes(['cat', 'dog'])
    assert stages.first.class_names == ['cat', 'dog']
    half = KMeansPlusPlus(dtype='float16')
    assert TwoStage(TopN(), half, 2.).embeddings_dtype == 'float16'
    assert TwoStage(CoreSet(), half, 2.).embeddings_dtype == 'float32'
    assert TwoStage(Quota(dict(a=1)), TopN(), keep_images=3) \
        .needs_columns == ('a', )
    assert not TwoStage(TopN(), TopN(), keep_images=3).needs_draws


def test_rounds_and_classes_draw_numbers_of_their_own():
    stages, chosen = TwoStage(TopThird(), TopThird(), keep_images=20), []
    for round in range(3):
        stages.prepare(round)
        chosen += [stages.select(range(90), 5),
                   stages.with_seed_key('class', 1).select(range(90), 5)]
    assert len(set(map(tuple, chosen))) == 6


@pytest.mark.parametrize('options, message', [
    (dict(), 'give one of them'),
    (dict(keep=2., keep_images=3), 'give one of them'),
    (dict(keep=.5), 'keep is 0.5'),
    (dict(keep=float('inf')), 'keep is inf'),
    (dict(keep_images=0), 'keep_images is 0')])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TwoStage(TopN(), TopN(), **options)
    with pytest.raises(ValueError, match='TwoStage: then is 3'):
        TwoStage(TopN(), 3, keep=2.)

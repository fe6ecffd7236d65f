"""What a query builds from the config."""
import pytest

from mmal.engine.query import Query
from mmal.engine.settings import Settings
from mmal.testing import tiny_fcos, tiny_mdn_ssd


def query(**block):
    settings = Settings(
        data=dict(ann_file='pool.json'), budget=dict(size=1), **block)
    return Query(settings, coco=None, img_prefix='', oracle=None)


@pytest.mark.parametrize('selector, seed', [
    (dict(type='mmal.CoreSet', start='random'), 7),
    (dict(type='mmal.CoreSet', start='random', seed=3), 3),
])
def test_a_selector_draws_by_the_runs_seed(selector, seed):
    assert query(selector=selector, seed=7).selector.seed == seed


def test_a_wrapped_selector_draws_by_the_runs_seed_too():
    inner = dict(type='mmal.TopThird')
    selector = dict(type='mmal.RoundRobin', selector=inner)
    assert query(selector=selector, seed=7).selector.selector.seed == 7
    inner['seed'] = 3
    assert query(selector=selector, seed=7).selector.selector.seed == 3


@pytest.mark.parametrize('selector', [
    dict(seed=3), dict(type='mmal.RoundRobin', selector=dict(seed=3))])
def test_a_selector_without_a_type(selector):
    with pytest.raises(ValueError, match='active_learning.selector'):
        query(selector=selector)


def test_a_selector_that_draws_nothing_gets_no_seed():
    assert not hasattr(query(seed=7).selector, 'seed')


def test_a_selector_knows_the_round(monkeypatch):
    asked = query(selector=dict(type='mmal.TopThird'))
    for name in ('_scores', '_labelled'):
        monkeypatch.setattr(asked, name, lambda *args: None)
    monkeypatch.setattr(asked, '_choose',
                        lambda *args: 1 / (asked.selector.round - 4))
    with pytest.raises(ZeroDivisionError):
        asked.run(None, {}, 4, None)


def test_an_unknown_selector_is_named():
    with pytest.raises(ValueError, match='active_learning.selector'):
        query(selector=dict(type='mmal.Nothing'))


@pytest.mark.parametrize('kind, model, fits', [
    ('EntropyScorer', tiny_fcos, True),
    ('DetectionEntropyScorer', tiny_fcos, True),
    ('GradScorer', tiny_fcos, True),
    ('GradScorer', tiny_mdn_ssd, False),
    ('RandomScorer', tiny_fcos, False),
])
def test_turns_over_classes_need_a_value_of_each(kind, model, fits):
    selector = dict(type='mmal.RoundRobin', selector=dict(type='mmal.TopN'))
    asked = query(scorer=dict(type=f'mmal.{kind}'), selector=selector)
    if fits:
        asked.check(model(), None)
        return
    with pytest.raises(ValueError, match='RoundRobin.*one value for all'):
        asked.check(model(), None)


def test_turns_over_a_class_that_there_is_not():
    inner = dict(type='mmal.TopN')
    for classes in ([2, 0], [3]):
        asked = query(
            scorer=dict(type='mmal.EntropyScorer'),
            selector=dict(type='mmal.RoundRobin', selector=inner,
                          classes=classes))
        if max(classes) < 3:
            asked.check(tiny_fcos(), None)
            continue
        with pytest.raises(ValueError, match='has 3 but .* only 3 classes'):
            asked.check(tiny_fcos(), None)


@pytest.mark.parametrize('selector, fits', [
    (dict(type='mmal.KMeansPlusPlus'), False),
    (dict(type='mmal.KMeansPlusPlus', weighted=False), True),
    (dict(type='mmal.CoreSet'), True),
    (dict(type='mmal.CoreSet', weighted=True), False),
    (dict(type='mmal.SparseModeling'), False),
    (dict(type='mmal.TopN'), True),
])
def test_negative_scores_are_no_weights(selector, fits):
    asked = query(
        scorer=dict(type='mmal.MixtureUncertaintyScorer'), selector=selector)
    if fits:
        asked.check(tiny_mdn_ssd(), None)
        return
    with pytest.raises(ValueError, match='may be negative: set active_lear'):
        asked.check(tiny_mdn_ssd(), None)

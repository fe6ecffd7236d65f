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


def test_a_selector_that_draws_nothing_gets_no_seed():
    assert not hasattr(query(seed=7).selector, 'seed')


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

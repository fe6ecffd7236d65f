"""What a query builds from the config."""
import numpy as np
import pytest
from helpers.tiny import tiny_fcos
from helpers.tiny_ssd import tiny_mdn_ssd

from mmal.engine.query import Query
from mmal.engine.settings import Settings
from mmal.scores import Scores
from mmal.scoring import ScoringData
from mmal.scoring.data import Split


def data_of():
    dataset = dict(type='mmdet.CocoDataset',
                   metainfo=dict(classes=('car', 'person', 'bike')))
    return ScoringData(dict(unlabelled=Split(dataset, labels=False)))


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
        asked.check(model(), data_of())
        return
    with pytest.raises(ValueError, match='RoundRobin.*one value for all'):
        asked.check(model(), data_of())


@pytest.mark.parametrize('classes, message', [
    ([2, 0], None),
    (['bike', 1, 'car'], None),
    ([3], 'has 3 but .* only 3 classes'),
    (['cat'], r"'cat' in classes .* \(car, person, bike\)"),
    (['bike', 2], 'each once'),
])
def test_turns_over_classes_by_number_and_by_the_datas_names(classes,
                                                             message):
    turns = dict(type='mmal.RoundRobin', selector=dict(type='mmal.TopN'),
                 classes=classes)
    asked = query(scorer=dict(type='mmal.EntropyScorer'), selector=turns)
    if message is not None:
        with pytest.raises(ValueError, match=message):
            asked.check(tiny_fcos(), data_of())
        return
    asked.check(tiny_fcos(), data_of())
    table = np.eye(3)  # image c is of class c
    scores = Scores([0, 1, 2], np.ones(3), np.arange(3) / 3,
                    dict(class_scores=table))
    names = ['car', 'person', 'bike']
    expected = [names.index(c) if isinstance(c, str) else c for c in classes]
    assert asked.selector.select(scores, 1) == expected[:1]
    assert asked.selector.select(scores, len(classes)) == expected


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

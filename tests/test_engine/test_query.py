"""What a query builds from the config, and what it chooses."""
import os

import numpy as np
import pytest
import torch
from helpers.queries import ask, prepare
from helpers.tiny import tiny_coco, tiny_fcos
from helpers.tiny_ssd import tiny_mdn_ssd

from mmal.engine.query import Query
from mmal.engine.query_checks import check_query
from mmal.engine.settings import Settings
from mmal.pool import CocoOracle, load_coco
from mmal.recorder import Recorder
from mmal.scores import Scores
from mmal.scoring import EntropyScorer, ScoringData
from mmal.scoring.data import Split
from mmal.selection import TopThird


def data_of():
    dataset = dict(type='mmdet.CocoDataset',
                   metainfo=dict(classes=('car', 'person', 'bike')))
    return ScoringData(dict(unlabelled=Split(dataset, labels=False)))


def check(asked, model):
    check_query(asked.settings, asked.scorer, asked.selector, asked.embedder,
                model, data_of())


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    root = tiny_coco(str(tmp_path_factory.mktemp('pool')))
    return load_coco(os.path.join(root, 'pool.json'))


def query(**block):
    settings = Settings(
        data=dict(ann_file='pool.json'), budget=dict(size=1), **block)
    return Query(settings, coco=None, img_prefix='')


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


@pytest.mark.parametrize('block, dtype', [
    ({}, torch.float32), (dict(score_precision='bf16'), torch.bfloat16)])
def test_dry_run_and_scoring_have_the_precision_of_the_config(block, dtype):
    asked, model = query(**block), tiny_fcos()
    asked.scorer = EntropyScorer()
    with Recorder(dict(conv=model.bbox_head.cls_convs[0].conv)) as recorder:
        asked.check(model, {})
    # the last one: before it the layers that give outputs were looked for
    assert recorder.calls[-1].output.dtype == dtype
    assert asked.data({}, 0).precision == block.get('score_precision', 'fp32')


def test_a_selector_that_draws_nothing_gets_no_seed():
    asked = query(seed=7, selector=dict(type='mmal.TopN'))
    assert not hasattr(asked.selector, 'seed')


def test_a_selector_knows_the_round(coco, tmp_path):
    labelled, left = coco.ids[:3], coco.ids[3:]
    scores = Scores(left, np.arange(9.))
    prepare(str(tmp_path), coco, scores, labelled)
    chosen = ask(str(tmp_path), coco, CocoOracle(pool=coco), 4, seed=7,
                 budget=dict(size=3), selector=dict(type='mmal.TopThird'))
    alone = TopThird(seed=7)
    by_round = []
    for number in (0, 4):
        alone.prepare(number)
        by_round.append(alone.select(scores, 3))
    assert chosen.ids == by_round[1] != by_round[0]


@pytest.mark.parametrize('known', [True, False])
def test_labelled_images_that_are_gone_are_not_called_unreadable(
        coco, tmp_path, known):
    """They were readable when the pool was opened, and are labelled."""
    labelled, left = coco.ids[:2], coco.ids[2:]
    # unless known, nothing that is not labelled has a score
    gone = left[1:] if known else left
    scores = Scores([labelled[0], left[0]], [1., 0.],
                    unreadable=dict.fromkeys((labelled[1], *gone), 'gone'))
    if not known:
        scores = scores.take(slice(1))
    prepare(str(tmp_path), coco, scores, labelled)
    chosen = ask(str(tmp_path), coco, CocoOracle(pool=coco),
                 budget=dict(size=9), candidates='all', on_bad_image='skip')
    assert [image.id for image in chosen.unreadable] == gone
    if known:
        assert chosen.ids == [labelled[0], left[0]]
        assert chosen.reselected == [labelled[0]]
        assert chosen.new == [left[0]]
    else:
        assert chosen.ids == chosen.new == []


@pytest.mark.parametrize('scored, selector, share', [
    (9, 'TopN', 1.0), (1, 'TopN', 0.25), (0, 'TopN', 0.0),
    (1, 'CoreSet', None)])
def test_share_of_the_images_that_a_score_chose(coco, tmp_path, scored,
                                                selector, share):
    labelled, left = coco.ids[:3], coco.ids[3:]
    values = np.full(9, -np.inf)
    values[:scored] = 1.
    embeddings = np.arange(18, dtype=np.float32).reshape(9, 2)
    prepare(str(tmp_path), coco,
            Scores(left, values, embeddings=embeddings), labelled)
    block = dict(type=f'mmal.{selector}')
    if selector == 'CoreSet':  # which looks at no score
        block['start'] = 'random'
    chosen = ask(str(tmp_path), coco, CocoOracle(pool=coco),
                 budget=dict(size=4), selector=block)
    assert chosen.by_score == share
    assert chosen.at_random == (0 if share is None else 4 - 4 * share)
    assert ('at random' in chosen.note) == (share == 0)
    assert ('at random' in str(chosen)) == (chosen.at_random > 0)


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
        check(asked, model())
        return
    with pytest.raises(ValueError, match='RoundRobin.*one value for all'):
        check(asked, model())


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
            check(asked, tiny_fcos())
        return
    check(asked, tiny_fcos())
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
        check(asked, tiny_mdn_ssd())
        return
    with pytest.raises(ValueError, match='may be negative: set active_lear'):
        check(asked, tiny_mdn_ssd())


DETECTIONS = 'embeddings of detections, but those of {} are others: set .*' \
    'active_learning.scorer.*DifficultyCalibratedScorer'
CLASSES = 'embeddings of class distributions, but those of {} are others: ' \
    'set .*ClassDistributionEmbedder'


@pytest.mark.parametrize('selector, scorer, embedder, message', [
    ('CategoryMatching', 'DifficultyCalibratedScorer', None, None),
    ('CategoryMatching', 'EntropyNMSScorer', None, None),
    ('CategoryMatching', 'RandomScorer', None,
     DETECTIONS.format('the backbone')),
    ('DiversePrototypes', 'EntropyNMSScorer', None, None),
    ('DiversePrototypes', 'EntropyScorer', 'ClassDistributionEmbedder',
     DETECTIONS.format('a ClassDistributionEmbedder')),
    ('ContextualDiversity', 'RandomScorer', 'ClassDistributionEmbedder',
     None),
    ('ContextualDiversity', 'RandomScorer', None,
     CLASSES.format('the backbone')),
    ('ContextualDiversity', 'EntropyNMSScorer', None,
     CLASSES.format(r'a \w+Scorer')),
    ('CoreSet', 'RandomScorer', 'ClassDistributionEmbedder', None),
    ('CoreSet', 'EntropyNMSScorer', None, 'selector compares embeddings of '
     r'whole images, but those of a \w+Scorer are lists of detections: use '
     'one that reads these'),
])
@pytest.mark.parametrize('wrap', ['', 'TwoStage', 'PerCostScorer',
                                  'CombinedScorer'])
def test_embeddings_are_of_what_the_selector_reads(selector, scorer, embedder,
                                                   message, wrap):
    selector, scorer = dict(type=f'mmal.{selector}'), dict(
        type=f'mmal.{scorer}')
    if selector['type'] == 'mmal.DiversePrototypes':
        selector['quota'] = 0.  # whose scores of classes wrappers have not
    if wrap == 'TwoStage':
        selector = dict(type='mmal.TwoStage', keep=2.,
                        first=dict(type='mmal.TopN'), then=selector)
    elif wrap == 'PerCostScorer':
        scorer = dict(type='mmal.PerCostScorer', scorer=scorer)
    elif wrap == 'CombinedScorer':
        scorer = dict(type='mmal.CombinedScorer', scorers=dict(
            a=scorer, b=dict(type='mmal.RandomScorer')))
    asked = query(scorer=scorer, selector=selector, embedder=embedder and dict(
        type=f'mmal.{embedder}'))
    if message is None:
        check(asked, tiny_fcos())
        return
    with pytest.raises(ValueError, match=message):
        check(asked, tiny_fcos())


@pytest.mark.parametrize('spacing, fits', [
    (dict(min_distance=.1), False),
    (dict(max_per_group=dict(k=1, by='folder')), True)])
def test_no_distances_of_lists_of_detections(spacing, fits):
    asked = query(scorer=dict(type='mmal.EntropyNMSScorer'), spacing=spacing,
                  selector=dict(type='mmal.DiversePrototypes', quota=0.))
    arguments = (asked.settings, asked.scorer, asked.selector, asked.embedder,
                 tiny_fcos(), data_of(), asked.spacing)
    if fits:
        check_query(*arguments)
        return
    with pytest.raises(ValueError, match='spacing.min_distance compares '
                       'embeddings of whole images.*use max_per_group'):
        check_query(*arguments)


def test_two_stages_read_one_kind_of_embeddings():
    with pytest.raises(ValueError, match='first reads embeddings of '
                       'detections, and then those of class distributions'):
        query(selector=dict(
            type='mmal.TwoStage', keep=2.,
            first=dict(type='mmal.CategoryMatching'),
            then=dict(type='mmal.ContextualDiversity')))

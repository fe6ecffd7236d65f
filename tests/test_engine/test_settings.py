"""The typed schema of the ``active_learning`` block."""

import numpy as np
import pytest
from helpers.config_mutations import Unprintable, deep
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyObject

from mmal.engine.build import build
from mmal.engine.settings import Settings, image_prefix, pool_dataset
from mmal.scoring import EntropyScorer

BLOCK = dict(
    data=dict(ann_file='pool.json'), initial=dict(size=2),
    budget=dict(size=1))


def config(**block):
    return Config(
        dict(
            active_learning=dict(BLOCK, **block),
            train_dataloader=dict(
                dataset=dict(
                    type='RepeatDataset',
                    dataset=dict(
                        type='CocoDataset',
                        ann_file='train.json',
                        data_root='data',
                        data_prefix=dict(img='images/'))))))


def message_of(**block):
    """The message that a block of its own kind gives."""
    with pytest.raises(ValueError) as error:
        Settings(**{**BLOCK, **block})
    assert type(error.value) is ValueError
    return str(error.value)


@pytest.mark.parametrize('block, message', [
    (dict(budgett=1), r'active_learning\.budgett is not known. '
     'Did you mean budget'),
    (dict(budget=dict(sise=1)),
     r'^active_learning\.budget\.sise is not known\. Did you mean size\?$'),
    (dict(on_unreadable='skip'), r'active_learning\.on_unreadable is not'),
    (dict(rounds=0), r'active_learning\.rounds is 0'),
    (dict(rounds=2.5), r'active_learning\.rounds is 2\.5'),
    (dict(rounds='ten'), r"active_learning\.rounds is 'ten': give the number "
     'of trainings, a whole number of at least 1'),
    (dict(rounds='10'), r"rounds is '10': give .*, without quotes\."),
    (dict(rounds=True), 'active_learning.rounds is True'),
    (dict(rounds=10**30), 'active_learning.rounds is 1000'),
    (dict(seed=10**5000), 'seed is a number of more than 60 digits'),
    (dict(seed=None), 'active_learning.seed is None: give a whole number'),
    (dict(on_new_environment='raise'),
     r"on_new_environment is 'raise': give 'note' or 'refuse'"),
    (dict(on_bad_image='ignore'),
     r"on_bad_image is 'ignore': give 'raise' or 'skip'"),
    (dict(data=dict(root='x', ann_file='x')), r'active_learning\.data\.root'),
    (dict(data={}), r'data\.ann_file must be set: give the COCO json'),
    (dict(data='pool.json'), r"data is 'pool.json': give a dict"),
    (dict(data=dict(ann_file='')), r"data\.ann_file is ''"),
    (dict(data=dict(ann_file='a', data_prefix='images/')),
     r"data_prefix is 'images/': give a dict of folders"),
    (dict(initial=dict(size=0)), r'initial\.size is 0'),
    (dict(initial=dict(size=2, ann_file='a.json')), 'it needs either size'),
    (dict(budget=None), r'active_learning\.budget is None: give a dict'),
    (dict(budget=dict(size=0)), r'budget\.size is 0: give a whole number of'),
    (dict(budget=dict(size=1, unit='box')), 'Did you mean boxes'),
    (dict(target=dict(metric='coco/bbox_mAP')),
     r'active_learning\.target\.value must be set'),
    (dict(target=dict(metric='a', value=float('nan'))),
     r'target\.value is nan: give a finite number'),
    (dict(score_dataloader=dict(batchsize=2)), 'Did you mean batch_size'),
    (dict(score_dataloader=dict(num_workers=-1)), 'num_workers is -1'),
    (dict(score_precision='fp16'),
     r"score_precision is 'fp16': give 'fp32', 'tf32' or 'bf16'"),
    (dict(scorer=None), r'active_learning\.scorer is None: give a dict'),
    (dict(scorer=dict(aggregation='max')), r'scorer\.type must be set'),
    (dict(scorer=dict(type='mmal.EntropyScore')),
     r"scorer\.type is 'mmal.EntropyScore', which is not registered. Did you "
     'mean mmal.EntropyScorer'),
    (dict(scorer=dict(type='mmal.EntropyScorer', agregation='max')),
     r'scorer\.agregation is not known. Did you mean aggregation'),
    (dict(scorer=dict(type='mmal.InfluenceScorer', score_thr='0.1')),
     r"scorer\.score_thr is '0.1': give a number"),
    (dict(scorer=dict(type='mmal.InfluenceScorer',
                      solver=dict(type='mmal.LiSSA', repets=2))),
     r'scorer\.solver\.repets is not known. Did you mean repeats'),
    (dict(scorer=dict(type='mmal.InfluenceScorer',
                      solver=dict(type='mmal.TopN'))),
     r"scorer\.solver\.type is 'mmal.TopN', which is no solver"),
    (dict(selector=dict(type='mmal.RandomSubset', size=3,
                        selector=dict(type='mmal.TopM'))),
     r'selector\.selector\.type .* Did you mean mmal.TopN'),
    (dict(selector=dict(type='mmal.RoundRobin')),
     r'selector\.selector must be set'),
    (dict(selector=dict(type='mmal.RandomScorer')), 'which is no selector'),
    (dict(oracle=dict(type='mmal.CocoOracle', pool=3)),
     r'oracle\.pool is given by the run'),
    (dict(prepare_data=dict(type='mmal.make_digit')), r'prepare_data\.type'),
    (dict(prepare_data=dict(type='mmal.make_digits', roots='x')),
     'Did you mean root'),
    (dict(committee=deep(60)), 'nested more than 30 levels deep'),
    (dict(seed=LazyObject('no_such_module', 'X')),
     r'active_learning\.seed cannot be imported'),
])
def test_mistakes_are_named(block, message):
    with pytest.raises(ValueError, match=message):
        Settings.from_config(config(**block))


def test_missing_block_and_keys_are_named():
    with pytest.raises(ValueError, match='no active_learning block'):
        Settings.from_config(Config(dict(model=dict())))
    with pytest.raises(ValueError) as e:
        Settings.from_config(Config(dict(active_learning=dict(rounds=1))))
    assert str(e.value).startswith('active_learning has 2 mistakes:\n')
    for key in ('data', 'budget'):
        assert f'\n  active_learning.{key} must be set: give' in str(e.value)


@pytest.mark.parametrize('block', [[1], 'data', 3, np.array([1, 2]), len])
def test_a_block_that_is_no_dict(block):
    cfg = config()
    cfg.active_learning = block
    with pytest.raises(ValueError, match='active_learning is .* must be a'):
        Settings.from_config(cfg)


def test_keys_are_texts():
    cfg = config()
    cfg.active_learning = ConfigDict({**BLOCK, 5: 1, 'rounds': {None: 2}})
    with pytest.raises(ValueError) as e:
        Settings.from_config(cfg)
    assert 'active_learning has the key 5' in str(e.value)
    assert 'active_learning.rounds has the key None' in str(e.value)


def test_all_mistakes_at_once_and_none_at_length():
    message = message_of(
        rounds=Unprintable(), seed=list(range(10**5)), candidates='x' * 10**5,
        budget=dict(size=0, unit='kg'), scorer=dict(type='mmal.X', y=1),
        data=dict(ann_file={str(i): i for i in range(1000)}))
    lines = message.splitlines()
    assert lines[0] == 'active_learning has 7 mistakes:'
    assert len(lines) == 8 and len(message) < 1500
    assert all(line.startswith('  active_learning.') for line in lines[1:])
    keys = {f'k{i}': i for i in range(100)}
    message = message_of(**keys)
    assert '… and 92 more' in message and len(message) < 1500


def test_numbers_of_numpy_and_leftovers_of_mmengine():
    settings = Settings.from_config(config(
        rounds=np.int64(3), _scope_='mmal',
        initial=dict(_delete_=True, size=np.int32(2)),
        target=dict(metric='a', value=np.float32(.5)),
        scorer=dict(type='mmal.EntropyScorer', _scope_='mmdet',
                    aggregation=np.str_('max'))))
    assert settings.rounds == 3 and type(settings.rounds) is int
    assert settings.initial.to_dict() == dict(size=2)
    assert settings.target.value == .5
    assert settings.scorer == dict(
        type='mmal.EntropyScorer', aggregation='max')


@pytest.mark.parametrize('kind', [
    EntropyScorer, LazyObject('mmal.scoring', 'EntropyScorer')])
def test_a_class_for_a_type(kind):
    settings = Settings(**BLOCK, scorer=dict(type=kind))
    assert settings.scorer == dict(type='mmal.EntropyScorer')


def test_what_cannot_be_built_is_shown_without_what_the_run_gives():
    settings = Settings(
        **BLOCK, oracle=dict(type='mmal.ManualOracle', folder='labels'))
    with pytest.raises(ValueError) as e:
        build(settings, 'oracle', pool=Unprintable(), work_dir='secret')
    message = str(e.value)
    assert message.startswith('active_learning.oracle cannot be built from')
    assert 'SECRET' not in message.split("'labels'}")[0]
    assert 'secret' not in message and len(message) < 800


def test_pool_is_the_training_set_with_other_files():
    cfg = config(data=dict(ann_file='all.json', source='somewhere'))
    dataset = pool_dataset(cfg, Settings.from_config(cfg))
    assert dataset['ann_file'] == 'data/all.json'
    assert dataset['type'] == 'CocoDataset' and 'source' not in dataset
    assert image_prefix(dataset) == 'data/images/'


def test_candidates():
    block = dict(data=dict(ann_file='a.json'))
    assert not Settings(budget=dict(size=1), **block).reselects
    both = dict(size=1, repeats='counted')
    assert Settings(budget=both, candidates='all', **block).reselects
    with pytest.raises(ValueError, match="candidates is 'labelled'"):
        Settings(budget=dict(size=1), candidates='labelled', **block)
    with pytest.raises(ValueError, match="repeats .*set candidates='all'"):
        Settings(budget=both, **block)

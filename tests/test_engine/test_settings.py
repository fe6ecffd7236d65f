import pytest
from mmengine.config import Config

from mmal.engine.settings import Settings, image_prefix, pool_dataset

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


@pytest.mark.parametrize('block, message', [
    (dict(budgett=1), r'active_learning\.budgett is not known. '
     'Did you mean budget'),
    (dict(rounds=0), r'active_learning\.rounds is 0'),
    (dict(rounds=2.5), r'active_learning\.rounds is 2\.5'),
    (dict(on_bad_image='ignore'), r"on_bad_image is 'ignore'"),
    (dict(data=dict(root='x')), r'active_learning\.data has no ann_file'),
    (dict(target=dict(metric='coco/bbox_mAP')), r'active_learning\.target'),
])
def test_mistakes_are_named(block, message):
    with pytest.raises(ValueError, match=message):
        Settings.from_config(config(**block))


def test_missing_block_and_keys_are_named():
    with pytest.raises(ValueError, match='no active_learning block'):
        Settings.from_config(Config(dict(model=dict())))
    with pytest.raises(ValueError, match='data, budget must be set'):
        Settings.from_config(Config(dict(active_learning=dict(rounds=1))))


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

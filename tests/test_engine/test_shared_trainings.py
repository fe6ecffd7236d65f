"""First trainings that runs leave for each other: what tells them apart."""
import copy
import os

import pytest
import torch
from helpers.tiny import tiny_active_learning, tiny_config

from mmal.engine.shared_trainings import SharedTrainings, training_fingerprint
from mmal.fileio import read_json, write_json
from mmal.pool import DataRecord, ImageTable, load_coco
from mmal.pool.layout import RoundDir


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A config, and the data of its run."""
    root = str(tmp_path_factory.mktemp('data'))
    cfg = tiny_config(root)
    cfg.work_dir = os.path.join(root, 'work')
    cfg.active_learning = tiny_active_learning(
        seed=0, scorer=dict(type='mmal.RandomScorer'),
        selector=dict(type='mmal.TopN'))
    return cfg, root


def record(root, ids):
    pool, val = (load_coco(f'{root}/{name}.json') for name in ('pool', 'val'))
    data = DataRecord(['a'], dict(pool=ImageTable.of(pool),
                                  validation=ImageTable.of(val)))
    data.add_files(pool, f'{root}/images', ids or pool.ids[:3])
    return data


def round_dir(path, seconds=None):
    """A round with what it trains on, and with a training if it has one."""
    folder = RoundDir(str(path))
    write_json(folder.labelled, dict(images=[1, 2]))
    if seconds is not None:
        write_json(folder.metrics, dict(AP=.25))
        torch.save(dict(state_dict={}, seconds=seconds),
                   os.path.join(folder.path, 'epoch_3.pth'))
    return folder


@pytest.mark.parametrize('change, same', [
    ({'active_learning.scorer.type': 'mmal.EntropyScorer'}, True),
    ({'active_learning.budget.size': 2}, True),
    ({'active_learning.rounds': 7}, True),
    ({'work_dir': 'elsewhere'}, True),
    ({'active_learning.seed': 1}, False),
    ({'active_learning.data.data_prefix.img': 'other/'}, False),
    ({'model.bbox_head.loss_cls.gamma': 1.}, False),
    ({'optim_wrapper.optimizer.lr': 1e-3}, False),
    ({'train_dataloader.batch_size': 2}, False),
    ({'val_dataloader.dataset.ann_file': 'pool.json'}, False),
    ({'train_cfg.max_epochs': 3}, False),
])
def test_what_decides_a_training(made, change, same):
    cfg, _ = made
    other = copy.deepcopy(cfg)
    other.merge_from_dict(change)
    assert (training_fingerprint(cfg) == training_fingerprint(other)) == same


def test_images_and_labels_decide_too(made, tmp_path):
    cfg, root = made
    store, folder = SharedTrainings(str(tmp_path)), round_dir(tmp_path / 'a')
    data = record(root, [])
    key = store.key(cfg, folder, data)
    assert store.key(cfg, round_dir(tmp_path / 'b'), data) == key

    fewer = record(root, load_coco(f'{root}/pool.json').ids[:2])
    other_labels = copy.deepcopy(data)
    other_labels.tables['validation'].rows['labels'][0] += 1
    # the pool's unlabelled images are nothing to a training
    other_pool = copy.deepcopy(data)
    other_pool.tables['pool'].rows['labels'][0] += 1
    touched = copy.deepcopy(data)
    touched.files['time'] += 1
    assert store.key(cfg, folder, other_pool) == key
    assert store.key(cfg, folder, touched) == key
    keys = {key, store.key(cfg, folder, fewer),
            store.key(cfg, folder, other_labels)}
    write_json(folder.labelled, dict(images=[1, 3]))
    assert len({*keys, store.key(cfg, folder, data)}) == 4


def test_a_training_that_was_left_is_taken(tmp_path):
    store = SharedTrainings(str(tmp_path / 'store'))
    mine, theirs = round_dir(tmp_path / 'a', 12.5), round_dir(tmp_path / 'b')
    assert store.take('key', theirs) is None
    store.leave('key', mine, 12.5)
    assert store.take('other', theirs) is None
    assert store.take('key', theirs) == 12.5
    assert read_json(theirs.metrics) == dict(AP=.25)
    assert os.path.basename(theirs.latest_checkpoint()) == 'epoch_3.pth'
    # a round that has begun its own keeps it
    assert store.take('key', mine) is None
    # and one that comes later changes nothing
    store.leave('key', round_dir(tmp_path / 'c', 99.), 99.)
    assert store.take('key', round_dir(tmp_path / 'd')) == 12.5
    assert os.listdir(store.path) == ['key']


def test_a_run_that_goes_on_changes_no_other(tmp_path):
    """Files have several names, and each writer replaces its own."""
    store = SharedTrainings(str(tmp_path / 'store'))
    mine, theirs = round_dir(tmp_path / 'a', 1.), round_dir(tmp_path / 'b')
    store.leave('key', mine, 1.)
    store.take('key', theirs)
    write_json(theirs.metrics, dict(AP=.5))
    os.unlink(theirs.latest_checkpoint())
    third = round_dir(tmp_path / 'c')
    assert store.take('key', third) == 1.
    assert read_json(third.metrics) == read_json(mine.metrics) == dict(AP=.25)


@pytest.mark.parametrize('name, content', [
    ('epoch_3.pth', b'half a'), ('training.json', b'{'),
    ('training.json', b'{}')])
def test_a_damaged_one_is_trained_again(tmp_path, name, content):
    store = SharedTrainings(str(tmp_path / 'store'))
    store.leave('key', round_dir(tmp_path / 'a', 1.), 1.)
    path = os.path.join(store.path, 'key', name)
    os.unlink(path)  # the file of the run has another name
    with open(path, 'wb') as f:
        f.write(content)
    folder = round_dir(tmp_path / 'b')
    assert store.take('key', folder) is None
    assert folder.checkpoints() == []


def test_where_files_cannot_be_linked_they_are_copied(tmp_path, monkeypatch):
    def refuse(*names):
        raise PermissionError('no links here')

    monkeypatch.setattr(os, 'link', refuse)
    store = SharedTrainings(str(tmp_path / 'store'))
    store.leave('key', round_dir(tmp_path / 'a', 3.), 3.)
    folder = round_dir(tmp_path / 'b')
    assert store.take('key', folder) == 3.
    assert folder.latest_checkpoint() is not None

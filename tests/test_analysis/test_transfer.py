"""Other detectors trained on what a run has labelled."""
import json
import os

import pytest
import torch
from helpers.forks import ROOT, Kill
from helpers.mdn_runs import learn, mdn_config, tool
from helpers.runs import killed, make_config
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmal.analysis.transfer import Transfer, default_suffix, result_line
from mmal.fileio import read_json
from mmal.reporting import Curve

pytestmark = pytest.mark.run
TRANSFER = os.path.join(ROOT, 'tools', 'transfer.py')


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """Config and work folder of a run of FCOS."""
    folder = str(tmp_path_factory.mktemp('fcos'))
    config = make_config(
        folder,
        active_learning=dict(
            rounds=2, seed=3, scorer=dict(type='mmal.RandomScorer')))
    return config, learn(config, os.path.join(folder, 'work'))


def weights(*path):
    checkpoint = torch.load(os.path.join(*path), weights_only=False)
    return checkpoint['state_dict']


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[k], second[k]) for k in first)


def load(config, work_dir, **changes):
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir)
    cfg.merge_from_dict(changes)
    return cfg


def test_the_same_detector_is_the_rounds_own(source, tmp_path, capsys):
    """Same data, seed and schedule give the round's weights and metrics."""
    config, run = source
    work = str(tmp_path / 'work')
    command = [config, run, '--round', '1', '--work-dir', work]
    main = tool('transfer.py').main
    assert main(command) == 0
    assert same(weights(work, 'epoch_2.pth'),
                weights(run, 'round_01', 'epoch_2.pth'))
    assert read_json(os.path.join(work, 'metrics.json')) == read_json(
        os.path.join(run, 'round_01', 'metrics.json'))
    theirs, = (r for r in Curve.load(run).records if r.round == 1)
    record, = Curve.load(work).records
    assert (record.images, record.boxes) == (theirs.images, theirs.boxes)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line == result_line(record)
    assert line.startswith(f'round 1: 7 images, {record.boxes} boxes, AP ')
    assert main(command) == 1
    assert '--resume' in capsys.readouterr().err
    assert main([*command, '--resume']) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == line
    assert Curve.load(work).records == [record]
    other = [config, run, '--round', '0', '--work-dir', work, '--resume']
    assert main(other) == 1
    assert 'round: 1 -> 0' in capsys.readouterr().err
    seeded = str(tmp_path / 'seeded')
    assert main([*command[:-1], seeded, '--seed', '4']) == 0
    assert not same(weights(work, 'epoch_2.pth'),
                    weights(seeded, 'epoch_2.pth'))


def test_another_detector_from_a_folder_of_its_own(source, tmp_path):
    """MDN-SSD learns from FCOS's run; the config names no images of it."""
    _, run = source
    cfg = load(mdn_config(str(tmp_path)), tmp_path / 'work')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    cfg.custom_hooks = [dict(type='mmal.ActiveLearningHook')]
    record = Transfer(cfg, run, 0).run()
    assert record.round == 0 and record.images == 4
    assert 'coco/bbox_mAP' in record.metrics and record.train_seconds > 0
    assert not os.path.exists(tmp_path / 'work' / 'selected.json')
    name = 'bbox_head.cls_convs'
    assert any(k.startswith(name)
               for k in weights(tmp_path, 'work', 'epoch_2.pth'))
    assert default_suffix(run, 0) == '_on_work_round_00'


def test_killed_and_resumed_is_the_same(source, tmp_path):
    config, run = source
    work = str(tmp_path / 'work')
    command = (TRANSFER, config, run, '--round', '1', '--work-dir', work,
               '--resume')
    killed(Kill('mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter', 3),
           *command)
    assert os.path.exists(os.path.join(work, 'epoch_1.pth'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        record = Transfer(load(config, work), run, 1, resume=True).run()
    assert same(weights(work, 'epoch_2.pth'),
                weights(run, 'round_01', 'epoch_2.pth'))
    assert record.train_seconds is None


def edited_classes(cfg, names):
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes=names)


@pytest.mark.parametrize('change, message', [
    (lambda cfg: edited_classes(cfg, ('class_0', 'class_1')),
     'Categories with annotations that the model does not know'),
    (lambda cfg: edited_classes(cfg, ('cat', 'class_1', 'class_2')),
     "Classes that the file lacks: 'cat'"),
    (lambda cfg: edited_classes(cfg, ('class_1', 'class_0', 'class_2')),
     'in another order'),
    (lambda cfg: cfg.model.bbox_head.update(num_classes=4),
     'num_classes is 4, but the data set has 3'),
    (lambda cfg: cfg.update(val_dataloader=None, val_evaluator=None,
                            val_cfg=None), 'has no val_dataloader'),
])
def test_mistakes_are_found_before_training(source, tmp_path, change,
                                            message):
    config, run = source
    cfg = load(config, tmp_path / 'work')
    change(cfg)
    with pytest.raises(ValueError, match=message):
        Transfer(cfg, run).run()
    assert not os.path.exists(tmp_path / 'work')


def test_folders_of_others_are_left_alone(source, tmp_path):
    config, run = source
    before = os.path.getmtime(os.path.join(run, 'identity.json'))
    with pytest.raises(ValueError, match='holds a run of active learning'):
        Transfer(load(config, run), run, resume=True).run()
    assert os.path.getmtime(os.path.join(run, 'identity.json')) == before
    with pytest.raises(FileNotFoundError, match='no work folder of a run'):
        Transfer(load(config, tmp_path / 'work'), str(tmp_path))


def test_checkpoints_of_another_training_are_not_resumed(source, tmp_path):
    """A folder of mmdet's own tools/train.py has no identity."""
    config, run = source
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'epoch_2.pth').write_bytes(b'weights')
    for resume in (False, True):
        with pytest.raises(ValueError, match='holds another training'):
            Transfer(load(config, work), run, resume=resume).run()
    assert os.listdir(work) == ['epoch_2.pth']


@pytest.mark.parametrize('key', ['data_root', 'data_prefix'])
def test_images_of_a_run_that_names_no_folder(source, tmp_path, monkeypatch,
                                              key):
    """The new config's own folder is not looked at."""
    config, run = source
    cfg = load(config, tmp_path / 'work')
    cfg.train_dataloader.dataset.update(
        data_root='elsewhere', data_prefix=dict(img='photos'))
    transfer = Transfer(cfg, run, 0)
    root = transfer.pool['data_root']
    transfer.pool.pop(key)
    if key == 'data_root':
        monkeypatch.chdir(root)
    else:
        transfer.pool['data_root'] = os.path.join(root, 'images')
    assert transfer.run().images == 4


def test_missing_images_are_named(source, tmp_path):
    """The run's images were moved away since."""
    import shutil
    config, run = source
    moved = str(tmp_path / 'run')
    shutil.copytree(run, moved)
    path = os.path.join(moved, 'round_01', 'labelled.json')
    content = read_json(path)
    content['images'][0]['file_name'] = 'gone.png'
    with open(path, 'w') as f:
        json.dump(content, f)
    with pytest.raises(FileNotFoundError, match='gone.png'):
        Transfer(load(config, tmp_path / 'work'), moved, 1).run()

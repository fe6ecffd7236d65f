"""Whole runs whose scorer asks a committee."""
import os

import pytest
import torch
from helpers.committee_parts import DisagreementScorer
from helpers.forks import fork_run, fork_two
from helpers.runs import (
    LAUNCHER,
    SELECT,
    TRAIN,
    make_config,
    succeed,
    succeeded,
)
from helpers.tiny import tiny_active_learning, tiny_config
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmal.compat.checkpoints import load_checkpoint
from mmal.engine import ActiveLearner
from mmal.engine.plan import plan_run
from mmal.engine.round_config import member_seed
from mmal.fileio import read_json
from mmal.scores import Scores

SCORER = dict(type='mmal.DisagreementScorer')
ENSEMBLE = dict(type='mmal.EnsembleCommittee', size=3)
DROPOUT = dict(type='mmal.DropoutCommittee', passes=3)


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('data'))
    tiny_config(root)
    return root


def config(root, work_dir, **block):
    cfg = tiny_config(root)
    cfg.work_dir = str(work_dir)
    default = tiny_active_learning(
        scorer=SCORER,
        committee=ENSEMBLE)
    cfg.active_learning = {**default, **block}
    return cfg


def dropout_config(root, work_dir, **block):
    cfg = config(root, work_dir, committee=DROPOUT, **block)
    cfg.model.neck = dict(
        cfg.model.neck, type='mmal.DropoutFPN', dropout=0.2)
    return cfg


def rounds(work_dir):
    return [r['ids'] for r in read_json(f'{work_dir}/state.json')['rounds']]


@pytest.fixture(scope='module')
def ensemble(data, tmp_path_factory):
    """The work folder of a finished run with an ensemble of three."""
    work = tmp_path_factory.mktemp('ensemble') / 'work'
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(config(data, work)).run()
    return work


@pytest.mark.run
def test_members_are_trained_in_rounds_with_a_query(ensemble):
    assert sorted(p.name for p in ensemble.glob('round_*/member_*')) == [
        'member_01', 'member_02'
    ]
    for member in ensemble.glob('round_00/member_*'):
        assert [p.name for p in member.glob('*.pth')] == ['weights.pth']
        assert not (member / 'last_checkpoint').exists()
        cfg = Config.fromfile(str(member / 'config.py'))
        assert cfg.train_dataloader.dataset.ann_file.endswith(
            os.path.join('round_00', 'labelled.json'))
        assert cfg.val_dataloader is None


@pytest.mark.run
def test_members_differ_from_each_other(ensemble):
    files = ('epoch_1.pth', 'member_01/weights.pth', 'member_02/weights.pth')
    weights = [
        load_checkpoint(ensemble / 'round_00' / f)['state_dict'] for f in files
    ]
    assert weights[0].keys() == weights[1].keys()
    name = 'bbox_head.conv_cls.weight'
    for i in range(3):
        assert not torch.equal(weights[i][name], weights[i - 1][name])


@pytest.mark.run
def test_the_rounds_own_model_is_trained_as_without_members(
        data, ensemble, tmp_path):
    cfg = config(data, tmp_path / 'work', rounds=1)
    del cfg.active_learning['committee']
    cfg.active_learning.scorer = dict(type='mmal.RandomScorer')
    ActiveLearner(cfg).run()
    alone, among = (
        load_checkpoint(folder / 'round_00' / 'epoch_1.pth')['state_dict']
        for folder in (tmp_path / 'work', ensemble))
    for name, value in alone.items():
        assert torch.equal(value, among[name]), name


@pytest.mark.run
def test_scores_come_from_all_members(ensemble):
    values = Scores.load(str(ensemble / 'round_00' / 'scores.npz')).values
    assert (values > 0).all() and len(set(values)) == len(values) == 8
    chosen = read_json(ensemble / 'round_00' / 'selected.json')
    assert chosen['ids'] == rounds(ensemble)[1]


@pytest.mark.run
def test_training_time_is_that_of_all_models(ensemble):
    first, _ = read_json(ensemble / 'curve.json')['rounds']
    seconds = [
        load_checkpoint(p)['meta']['seconds']
        for p in ensemble.glob('round_00/member_*/weights.pth')
    ]
    assert len(seconds) == 2 and min(seconds) > 0
    assert first['train_seconds'] > sum(seconds)
    # the last round has no query that would ask members
    assert not list(ensemble.glob('round_01/member_*'))


@pytest.mark.run
def test_a_finished_run_given_more_rounds_trains_members_then(
        data, ensemble, tmp_path):
    work = tmp_path / 'work'
    ActiveLearner(config(data, work, rounds=1)).run()
    assert not list(work.glob('round_*/member_*'))
    ActiveLearner(config(data, work), resume=True).run()
    assert rounds(work) == rounds(ensemble)


@pytest.mark.run
def test_averaged_weights_are_kept_of_each_member(data, tmp_path,
                                                  monkeypatch):
    """Those of the last checkpoint, which mmengine swaps in for saving."""
    cfg = config(data, tmp_path / 'work', committee=dict(ENSEMBLE, size=2))
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.5)]
    cfg.train_cfg.max_epochs = 2  # the first step's average is the weights
    original, kept = os.unlink, {}

    def spy(path, **kwargs):
        if str(path).endswith('member_01/epoch_2.pth'):
            kept.update(load_checkpoint(path))
        return original(path, **kwargs)

    monkeypatch.setattr(os, 'unlink', spy)
    ActiveLearner(cfg).run()
    found = load_checkpoint(
        tmp_path / 'work/round_00/member_01/weights.pth')['state_dict']
    name = 'bbox_head.conv_cls.weight'
    assert torch.equal(found[name], kept['state_dict'][name])
    raw = kept['ema_state_dict'][f'module.{name}']
    assert not torch.equal(found[name], raw)


def test_plan_counts_the_members(data, tmp_path):
    cfg = config(data, tmp_path / 'work', rounds=3)
    rows = [r.split() for r in plan_run(cfg).splitlines()[2:]]
    assert [int(r[3]) for r in rows] == [3 * 1, 3 * 2, 3]
    assert [r[4:] for r in rows] == [['3', 'models']] * 2 + [[]]


@pytest.mark.run
def test_dropout_scores_do_not_depend_on_the_batch_size(data, tmp_path):
    values = []
    for size in (1, 4):
        work = tmp_path / str(size)
        cfg = dropout_config(
            data, work, score_dataloader=dict(batch_size=size, num_workers=0))
        ActiveLearner(cfg).run()
        scores = Scores.load(str(work / 'round_00' / 'scores.npz'))
        values.append(torch.from_numpy(scores.values))
        assert (scores.values > 0).all()
        assert not list(work.glob('round_*/member_*'))
    torch.testing.assert_close(*values, rtol=1e-3, atol=0)


# --- mistakes, all found before any training ---


def fails(cfg, message, error=ValueError):
    with pytest.raises(error, match=message):
        ActiveLearner(cfg).run()
    assert not os.path.exists(cfg.work_dir)


def test_a_scorer_without_its_committee(data, tmp_path):
    fails(config(data, tmp_path / 'work', committee=None),
          r'DisagreementScorer.*committee is not set.*EnsembleCommittee')


@pytest.mark.parametrize('committee, message', [
    (DROPOUT, 'no dropout layer with p > 0.*mmal.DropoutSSDNeck'),
    (dict(type='mmal.EnsembleCommittee'), 'give size'),
    (dict(ENSEMBLE, size=1), 'at least 2'),
    (dict(type='mmal.EnsembleCommittee', checkpoints=['a.pth']),
     'for a single query'),
    (dict(type='mmal.EnsembleCommittee', number=3),
     r'active_learning\.committee\.number is not known'),
    (dict(type='mmal.TopN'), 'which is no committee'),
])
def test_committees_that_cannot_work(data, tmp_path, committee, message):
    fails(config(data, tmp_path / 'work', committee=committee), message)


@pytest.mark.parametrize(
    'scorer', ['mmal.RandomScorer', 'mmal.DetectionEntropyScorer'])
def test_a_committee_that_nobody_asks(data, tmp_path, scorer):
    fails(config(data, tmp_path / 'work',
                 scorer=dict(type=scorer)), 'never asks it')


@pytest.mark.run
def test_another_committee_is_another_run(data, ensemble):
    cfg = config(data, ensemble, committee=dict(ENSEMBLE, size=4))
    with pytest.raises(ValueError, match=r'committee\.size: 3 -> 4'):
        ActiveLearner(cfg, resume=True).run()


# --- processes of their own ---


@pytest.fixture(scope='module')
def config_file(tmp_path_factory):
    """A config of two rounds with an ensemble of two."""
    return make_config(
        str(tmp_path_factory.mktemp('file')),
        active_learning=dict(
            rounds=2, scorer=SCORER, committee=dict(ENSEMBLE, size=2)),
        custom_imports=dict(imports=['mmal', 'helpers.committee_parts']))


@pytest.fixture(scope='module')
def whole(config_file, tmp_path_factory):
    work = str(tmp_path_factory.mktemp('whole') / 'work')
    succeed(TRAIN, config_file, '--work-dir', work)
    return work


def select(whole, config_file, out, committee):
    """The command of a single query."""
    first = os.path.join(whole, 'round_00')
    options = [f'active_learning.committee.{k}={v}'
               for k, v in committee.items()]
    return (SELECT, config_file, f'{first}/epoch_2.pth', '--labelled',
            f'{first}/labelled.json', '--out-dir', out, '--cfg-options',
            *options)


@pytest.mark.run
def test_single_query_with_checkpoints_equals_the_rounds(
        whole, config_file, tmp_path):
    """In two processes, too."""
    member = os.path.join(whole, 'round_00', 'member_01', 'weights.pth')
    committee = dict(checkpoints=f'[{member}]')
    one, two = (str(tmp_path / name) for name in ('one', 'two'))
    succeed(*select(whole, config_file, one, committee))
    for done in fork_two(*select(whole, config_file, two, committee),
                         *LAUNCHER):
        succeeded(done)
    for out in (one, two):
        chosen = read_json(os.path.join(out, 'selected.json'))
        assert chosen['ids'] == rounds(whole)[1]


@pytest.mark.run
def test_single_query_without_checkpoints(whole, config_file, tmp_path):
    done = fork_run(*select(whole, config_file, tmp_path / 'out',
                            dict(size=3)))
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'checkpoints, those of the 2 others' in done.stderr


@pytest.mark.run
def test_a_run_of_two_processes(config_file, tmp_path):
    work = str(tmp_path / 'work')
    for done in fork_two(TRAIN, config_file, '--work-dir', work, *LAUNCHER):
        succeeded(done)
    assert [len(r) for r in rounds(work)] == [4, 3]
    folder = os.path.join(work, 'round_00', 'member_01')
    assert load_checkpoint(os.path.join(folder, 'weights.pth'))
    assert read_json(os.path.join(work, 'curve.json'))['rounds'][0][
        'train_seconds'] > 0


def test_hook_by_hand_checks_the_committee_before_training(data, tmp_path):
    from mmengine.runner import Runner
    cfg = config(data, tmp_path / 'work')
    cfg.custom_hooks = [dict(type='mmal.ActiveLearningHook')]
    cfg.experiment_name = 'hook_by_hand'
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match='give .*committee.checkpoints'):
        runner.train()
    assert runner.iter == 0


def test_members_have_seeds_of_their_own():
    seeds = [member_seed(s, r, m)
             for s in range(3) for r in range(3) for m in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert DisagreementScorer.needs_committee

"""Whole runs and single queries on the GPU, as users start them."""
import os.path as osp

import numpy as np
import pytest
import torch
from helpers import pretended_gpu
from helpers.forks import Kill
from helpers.mdn_runs import learn
from helpers.runs import (
    LAUNCHER,
    SELECT,
    TORCHRUN,
    TRAIN,
    ids_of,
    killed,
    make_config,
    metrics_of,
    succeed,
    succeeded,
    typed,
)
from helpers.tiny import tiny_fcos_config
from helpers.tiny_ssd import tiny_ssd_config

from mmal.fileio import read_json
from mmal.scores import Scores

pytestmark = [pytest.mark.cuda, pytest.mark.run]

SHORT = ('--cfg-options', 'active_learning.rounds=2',
         'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
DETERMINISTIC = (*SHORT, 'randomness.deterministic=True')


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return make_config(str(tmp_path_factory.mktemp('config')))


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """The folder of a run of two rounds."""
    work_dir = str(tmp_path_factory.mktemp('whole') / 'work')
    succeed(TRAIN, config, '--work-dir', work_dir, *DETERMINISTIC)
    return work_dir


def test_killed_in_a_query_and_resumed_ends_the_same(
        device, config, whole, tmp_path):
    command = (TRAIN, config, '--work-dir', tmp_path, '--resume',
               *DETERMINISTIC)
    killed(Kill('mmal.scoring', 'InfluenceScorer.process', 4), *command)
    succeed(*command)
    assert ids_of(tmp_path) == ids_of(whole)
    assert metrics_of(tmp_path) == metrics_of(whole)


def test_mixed_precision(device, config, tmp_path):
    succeed(TRAIN, config, '--work-dir', tmp_path, '--amp', *SHORT)
    assert [len(ids) for ids in ids_of(tmp_path)] == [4, 3]
    scores = Scores.load(osp.join(tmp_path, 'round_00', 'scores.npz'))
    assert np.isfinite(scores.values).all()
    assert len(set(scores.values)) == len(scores.values)


@pytest.mark.parametrize('processes', [1, 2])
def test_a_query_chooses_what_the_run_chose(device, config, whole, tmp_path,
                                            processes):
    first = osp.join(whole, 'round_00')
    query = (SELECT, config, osp.join(first, 'epoch_1.pth'), '--labelled',
             osp.join(first, 'labelled.json'), '--out-dir', tmp_path)
    if processes == 1:
        succeed(*query)
    elif pretended_gpu.is_on() or torch.cuda.device_count() > 1:
        # NCCL takes a tensor of the GPU that belongs to the process alone
        succeeded(typed(*TORCHRUN, *query, *LAUNCHER,
                        env=pretended_gpu.environment(2, nccl=True)))
    else:
        pytest.skip('needs two GPUs')
    scores, expected = (Scores.load(osp.join(folder, 'scores.npz'))
                        for folder in (tmp_path, first))
    assert scores.ids == expected.ids
    np.testing.assert_allclose(scores.values, expected.values, 1e-3,
                               1e-3 * np.abs(expected.values).max())
    chosen = read_json(str(tmp_path / 'selected.json'))['ids']
    assert chosen == ids_of(whole)[1]


BLOCKS = dict(
    ensemble=dict(
        scorer=dict(type='mmal.MutualInformationScorer'),
        committee=dict(type='mmal.EnsembleCommittee', size=2)),
    core_set=dict(
        scorer=dict(type='mmal.RandomScorer'),
        selector=dict(type='mmal.CoreSet')),
    dropout=dict(
        scorer=dict(type='mmal.MutualInformationScorer'),
        committee=dict(type='mmal.DropoutCommittee', passes=3)),
    learning_loss=dict(scorer=dict(type='mmal.LearningLossScorer')),
    mixtures=dict(scorer=dict(
        type='mmal.MixtureUncertaintyScorer', score_thr=.1)))
MODELS = dict(
    dropout=tiny_ssd_config(neck='mmal.DropoutSSDNeck'),
    learning_loss=dict(tiny_fcos_config(), type='mmal.LearningLossDetector',
                       loss_head=dict()),
    mixtures=tiny_ssd_config(
        type='mmal.MDNSSDHead', box_components=2, cls_components=2))


@pytest.mark.parametrize('name', BLOCKS)
def test_two_rounds(device, tmp_path, name):
    changes = {}
    if name in MODELS:
        changes['model'] = dict(MODELS[name], _delete_=True)
    config = make_config(
        str(tmp_path), active_learning=dict(BLOCKS[name], rounds=2),
        train_cfg=dict(max_epochs=1, val_interval=1), **changes)
    torch.cuda.reset_peak_memory_stats()
    work_dir = learn(config, str(tmp_path / 'work'))
    assert [len(ids) for ids in ids_of(work_dir)] == [4, 3]
    # it was the GPU that learned
    assert torch.cuda.max_memory_allocated() > 1 << 19

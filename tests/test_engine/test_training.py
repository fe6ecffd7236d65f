"""Trainings leave nothing behind, and say little."""
import gc
import os
import resource

import pytest
import torch
from helpers.forks import fork_run
from helpers.runs import TRAIN, make_config, succeed
from helpers.tiny import tiny_active_learning, tiny_config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import init_default_scope
from mmengine.utils import ManagerMixin
from mmengine.visualization import Visualizer

from mmal.engine.round_config import round_config
from mmal.engine.settings import Settings
from mmal.engine.training import trained
from mmal.pool.layout import RoundDir


def subclasses(cls):
    below = cls.__subclasses__()
    return below + [c for kind in below for c in subclasses(kind)]


def kept():
    """What mmengine keeps by name, how many of each kind."""
    return {kind: len(kind.__dict__.get('_instance_dict', {}))
            for kind in (MMLogger, MessageHub, *subclasses(ManagerMixin))}


@pytest.mark.run
def test_thirty_trainings_with_few_file_handles(tmp_path):
    """One log file for each would be too many."""
    if torch.cuda.is_available():
        pytest.skip('a fork cannot train on a GPU')

    cfg = tiny_config(str(tmp_path / 'data'))
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning()
    cfg.train_dataloader.dataset.ann_file = 'val.json'

    def work():
        init_default_scope('mmdet')
        settings = Settings.from_config(cfg)
        handles = objects = None
        for number in range(30):
            files = RoundDir(f'{cfg.work_dir}/{number}')
            one = round_config(cfg, settings, number, files, None)
            one.train_dataloader.dataset.ann_file = 'val.json'
            with trained(one) as training:
                assert training.seconds > 0
                assert Visualizer.get_current_instance()
            if number == 1:  # what is opened once is open
                handles = len(os.listdir('/proc/self/fd'))
                objects = kept()
                limit = max(map(int, os.listdir('/proc/self/fd'))) + 8
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        gc.collect()
        assert len(os.listdir('/proc/self/fd')) <= handles
        assert kept() == objects
        print('all done')

    done = fork_run(work)
    assert 'all done' in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    log = [f for _, _, files in os.walk(tmp_path / 'work' / '29')
           for f in files if f.endswith('.log')]
    assert log  # with what is not on the console


@pytest.mark.run
def test_the_console_of_a_run(tmp_path):
    """It shows rounds and results; the rest is in the log files."""
    config = make_config(str(tmp_path), log_level='INFO')
    done = succeed(TRAIN, config, '--work-dir', tmp_path / 'work')
    lines = done.stdout.splitlines()
    assert 'Round 0: training on' in done.stdout
    assert 'Stopped: all rounds are done' in done.stdout
    assert len(lines) < 40, done.stdout
    text = done.stdout + done.stderr
    for noise in ('init_weights', 'Epoch(train)', 'VERY_HIGH', 'index created',
                  'Average Precision', 'FileClient', 'meshgrid',
                  'has been created'):
        assert noise not in text
    logs = ''
    for folder, _, files in os.walk(tmp_path / 'work'):
        for name in files:
            if name.endswith('.log'):
                with open(os.path.join(folder, name)) as f:
                    logs += f.read()
    for line in ('VERY_HIGH', 'Round 0: training on'):
        assert line in logs

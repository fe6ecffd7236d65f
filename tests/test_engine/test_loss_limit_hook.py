"""A training whose loss explodes ends with an error."""
from types import SimpleNamespace

import pytest
import torch

from mmal.engine.hooks import LossLimitHook


def step(hook, iteration, loss):
    runner = SimpleNamespace(iter=iteration - 1, work_dir='runs/round_02')
    hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(loss)))


def test_a_loss_above_the_limit_ends_the_training():
    hook = LossLimitHook(max_loss=100, interval=20)
    step(hook, 20, 100.0)
    with pytest.raises(FloatingPointError) as error:
        step(hook, 40, 123.4)
    for part in ('runs/round_02', 'iteration 40', '123.4', 'lr',
                 'Remove the checkpoints', '--resume force'):
        assert part in str(error.value)


def test_it_looks_every_interval():
    hook = LossLimitHook(interval=20)
    step(hook, 39, 1e6)
    with pytest.raises(FloatingPointError):
        step(hook, 40, 1e6)


def test_bad_limit():
    with pytest.raises(ValueError, match='max_loss is 0'):
        LossLimitHook(max_loss=0)

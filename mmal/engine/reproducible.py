"""Training that ends with the same weights however often it was killed."""
from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from mmal.fileio import write_bytes, write_text
from mmal.registry import FUNCTIONS, HOOKS

BACKEND = 'mmal_atomic'


@register_backend(BACKEND, force=True)
class AtomicBackend(LocalBackend):
    """mmengine's local files, but a file is whole or it is not there."""

    def put(self, obj: bytes, filepath: str) -> None:
        """Write bytes atomically."""
        write_bytes(str(filepath), obj)

    def put_text(self, obj: str, filepath: str,
                 encoding: str = 'utf-8') -> None:
        """Write text atomically."""
        write_text(str(filepath), obj)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds python, numpy and torch anew at the start of every epoch.

    mmengine's checkpoints hold no generator states, so a resumed epoch would
    draw other augmentations. With a seed per epoch, an epoch is the same
    whether it is trained in one go or after a kill.

    Args:
        seed (int): The seed of the round.
    """

    priority = 'VERY_HIGH'

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner) -> None:
        """Seed the epoch."""
        if not _by_iter(runner):
            seed_everything(self.seed, runner.epoch, get_rank())

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Seed the iteration, where training counts no epochs.

        The data of iteration-based training comes from workers, whose draws
        mmengine repeats on resume.
        """
        if _by_iter(runner):
            seed_everything(self.seed, runner.iter, get_rank())


def _by_iter(runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data worker from the seed of its epoch.

    torch gives each worker a seed drawn from the main process' generator,
    which :class:`EpochSeedHook` has set; python's and numpy's generators
    follow it here.

    Args:
        worker_id (int): The number of the worker; torch has used it.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def seed_everything(*key: int) -> None:
    """Seed python, numpy and torch by several integers."""
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def derive_seed(*key: int) -> int:
    """One seed in [0, 2**31) from several integers."""
    state = np.random.SeedSequence(key).generate_state(1)[0]
    return int(state) % 2**31

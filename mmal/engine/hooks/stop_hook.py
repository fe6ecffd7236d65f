"""A training that is asked to stop, and goes on where it was."""
from __future__ import annotations

import os
import os.path as osp
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    barrier,
    get_rank,
    get_world_size,
)
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmal.pool.layout import RoundDir
from ..reproducible import BACKEND
from ..stop_request import StopRequested, request

_GENERATORS = 'mmal_generators'


class StopHook(Hook):
    """Saves ``interrupted.pth`` and ends the process when that is asked for,
    see :mod:`mmal.engine.stop_request`.

    The checkpoint is taken after an iteration, in the middle of an epoch too:
    it holds the states of the random generators, and a training that goes on
    from it passes over the batches that were trained on. It ends with the
    weights of one that was not stopped. The file is removed when a later
    checkpoint is there.

    Args:
        interval (int): Several processes ask each other after so many
            iterations whether one of them shall stop; one alone stops after
            the iteration in which it is asked.
    """

    # After CheckpointHook, which may have saved the same iteration
    priority = 'LOWEST'

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval
        self._own: Optional[list[dict]] = None  # states that are being saved
        self._is_outdated = False
        self._resumed: Optional[list[dict]] = None
        self._dataloader: Any = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the states of the generators."""
        self._resumed = checkpoint.get(_GENERATORS)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states, or note that there is a later checkpoint."""
        if self._own is None:
            self._is_outdated = True
        else:
            checkpoint[_GENERATORS] = self._own

    def before_train(self, runner: Runner) -> None:
        """Pass over what was trained on of an epoch.

        Iteration-based loops do so themselves.
        """
        loop = runner.train_loop
        if self._resumed is None or not isinstance(loop, EpochBasedTrainLoop):
            return
        done = runner.iter - runner.epoch * len(loop.dataloader)
        if not 0 < done < len(loop.dataloader):
            return
        states = self._resumed[get_rank()] if len(
            self._resumed) == get_world_size() else None
        self._dataloader = loop.dataloader
        loop.dataloader = _RestOfEpoch(
            loop.dataloader, done, lambda: states and set_generators(states))

    def before_train_iter(self, runner: Runner, batch_idx: int,
                          data_batch=None) -> None:
        """From here on a request waits until the iteration is over."""
        request.is_deferred = True

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch=None,
                         outputs: Optional[dict] = None) -> None:
        """Stop here if that was asked for.

        Raises:
            StopRequested: In all processes after the same iteration.
        """
        self._remove_outdated(runner)
        loop, done = runner.train_loop, runner.iter + 1
        if isinstance(loop, EpochBasedTrainLoop):
            is_last = done % len(loop.dataloader) == 0
        elif isinstance(loop, IterBasedTrainLoop):
            is_last = done >= runner.max_iters
        else:  # nobody knows what such a loop has to remember
            return
        # gradients that are being accumulated are in no checkpoint
        accumulates = getattr(runner.optim_wrapper, 'should_update',
                              lambda: True)() is False
        if is_last or accumulates or not self._is_asked(done):
            return
        self._save(runner, by_epoch=False)
        raise StopRequested(request.signal_name or 'another process')

    def after_train_epoch(self, runner: Runner) -> None:
        """The same after an epoch, which CheckpointHook need not save.

        Raises:
            StopRequested: See :meth:`after_train_iter`.
        """
        self._remove_outdated(runner)
        loop = runner.train_loop
        if self._dataloader is not None:
            loop.dataloader, self._dataloader = self._dataloader, None
        if self._is_asked(0):
            if isinstance(loop, EpochBasedTrainLoop) and \
                    runner.epoch + 1 < runner.max_epochs:
                self._save(runner, by_epoch=True)
            raise StopRequested(request.signal_name or 'another process')
        # validation and query are repeated as a whole
        request.is_deferred = False

    def after_train(self, runner: Runner) -> None:
        """The checkpoint of the whole training is there."""
        if get_rank() == 0:
            with suppress(FileNotFoundError):
                os.unlink(RoundDir(runner.work_dir).interrupted)

    def _is_asked(self, done: int) -> bool:
        """Whether a process was asked to stop; the same in all of them."""
        if get_world_size() == 1:
            return request.signal_name is not None
        if done % self.interval:
            return False
        asked = torch.tensor(float(request.signal_name is not None))
        all_reduce(asked, 'max')
        return bool(asked)

    def _save(self, runner: Runner, by_epoch: bool) -> None:
        path = RoundDir(runner.work_dir).interrupted
        self._own = all_gather_object(generator_states())
        runner.save_checkpoint(
            osp.dirname(path), osp.basename(path), by_epoch=by_epoch,
            backend_args=dict(backend=BACKEND))
        # a process that ends has the others ended soon
        barrier()

    def _remove_outdated(self, runner: Runner) -> None:
        if self._is_outdated:
            self._is_outdated = False
            with suppress(FileNotFoundError):
                os.unlink(RoundDir(runner.work_dir).interrupted)


class _RestOfEpoch:
    """A data loader that passes over its first batches.

    Args:
        dataloader (DataLoader): The loader.
        done (int): How many batches.
        then (callable): Called when they are passed over.
    """

    def __init__(self, dataloader, done: int,
                 then: Callable[[], Any]) -> None:
        self._loader, self._done, self._then = dataloader, done, then

    def __iter__(self) -> Iterator:
        batches = iter(self._loader)
        for _ in range(self._done):
            next(batches)
        self._then()
        return batches

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def generator_states() -> dict[str, Any]:
    """The states of python's, numpy's and torch's generators.

    Returns:
        dict: Tensors, numbers and lists, which a checkpoint may hold.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, next_gauss = random.getstate()
    states = dict(
        torch=torch.get_rng_state(),
        numpy=[kind, keys.tolist(), position, has_gauss, gauss],
        python=[version, list(numbers), next_gauss])
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def set_generators(states: dict[str, Any]) -> None:
    """Set the generators to :func:`generator_states`."""
    torch.set_rng_state(states['torch'].cpu())
    kind, keys, *more = states['numpy']
    np.random.set_state((kind, np.array(keys, np.uint32), *more))
    version, numbers, next_gauss = states['python']
    random.setstate((version, tuple(numbers), next_gauss))
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())

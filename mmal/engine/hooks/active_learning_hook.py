"""The hook that turns a training into a round of active learning."""
from __future__ import annotations

import math
import os.path as osp
import time
from contextlib import contextmanager
from typing import Callable, Optional

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmal.fileio import read_json, write_json
from mmal.registry import HOOKS
from mmal.scoring.loop import share_buffers
from ..dist import on_main
from .divergence import ADVICE

RoundEnd = Callable[[Runner, torch.nn.Module, dict], None]


@HOOKS.register_module()
class ActiveLearningHook(Hook):
    """After training: validate, score the pool, select, commit the round.

    :class:`~mmal.engine.ActiveLearner` makes one for each round. Written into
    ``custom_hooks`` by hand as ``dict(type='mmal.ActiveLearningHook')`` it
    makes one query after a training with mmdet's own ``tools/train.py``: the
    pool is ``active_learning.data.ann_file`` less the images trained on, and
    ``selected.json`` in the work folder is the result.

    Args:
        on_round_end (callable, optional): Called with the runner, the
            detector and its metrics once they are written.
        check_interval (int): Training iterations between two looks for a
            loss that is not finite; the last one of an epoch is always looked
            at, so that no checkpoint is written after it.
    """

    # After EMAHook and the like, before CheckpointHook
    priority = 'LOW'

    def __init__(self,
                 on_round_end: Optional[RoundEnd] = None,
                 check_interval: int = 20) -> None:
        self.on_round_end = on_round_end
        self.check_interval = check_interval
        self.train_seconds = 0.0
        self._loss: dict = {}

    def before_train(self, runner: Runner) -> None:
        """Start the clock; check what the query of one round needs."""
        if self.on_round_end is None:
            _check_once(runner)
        self._start = time.perf_counter()

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch=None,
                         outputs: Optional[dict] = None) -> None:
        """Stop at a loss that is not finite.

        Raises:
            FloatingPointError: Naming the loss term, the iteration and what
                to do.
        """
        self._loss = outputs or {}
        if (runner.iter + 1) % self.check_interval == 0:
            check_finite(self._loss, runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the last loss of the epoch."""
        check_finite(self._loss, runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Never save weights that are not finite."""
        weights = checkpoint['state_dict']
        check_finite(
            {k: v
             for k, v in weights.items() if v.is_floating_point()}, runner)

    def before_val(self, runner: Runner) -> None:
        """Validate the weights that the checkpoint holds."""
        share_buffers(runner.model)

    def after_val_epoch(self,
                        runner: Runner,
                        metrics: Optional[dict] = None) -> None:
        """Keep the metrics of the fully trained model."""
        if _trained(runner) and is_main_process():
            write_json(_metrics_file(runner), _plain(metrics), indent=1)

    def after_train(self, runner: Runner) -> None:
        """Finish the round."""
        self.train_seconds = time.perf_counter() - self._start
        self._loss = {}  # its graph holds the model's parameters
        metrics = self._metrics(runner)
        model = _unwrapped(runner)
        on_round_end = self.on_round_end or _query_once
        with _averaged(runner):
            on_round_end(runner, model, metrics)

    def _metrics(self, runner: Runner) -> dict:
        if runner.val_loop is None:
            return {}
        path = _metrics_file(runner)
        found = on_main(lambda: read_json(path) if osp.exists(path) else None)
        return _plain(runner.val_loop.run()) if found is None else found


def check_finite(outputs: dict, runner: Runner) -> None:
    """Raise FloatingPointError if a loss or weight is NaN or infinite.

    One transfer from the device, however many tensors.
    """
    tensors = {k: v for k, v in outputs.items() if torch.is_tensor(v)}
    if not tensors:
        return
    finite = torch.stack([v.isfinite().all() for v in tensors.values()])
    if not finite.all():
        bad = [k for k, ok in zip(tensors, finite.tolist()) if not ok]
        terms = ', '.join(bad[:5]) + (', …' if len(bad) > 5 else '')
        raise FloatingPointError(
            f'training diverged in {runner.work_dir} at epoch '
            f'{runner.epoch + 1}, iteration {runner.iter + 1}: not finite are '
            f'{terms}. {ADVICE}')


@contextmanager
def _averaged(runner: Runner):
    """Put averaged weights (EMAHook) in place, as validation does."""
    hooks = [h for h in runner.hooks if isinstance(h, EMAHook)]
    for hook in hooks:
        hook.before_val_epoch(runner)
    try:
        yield
    finally:
        for hook in hooks:
            hook.after_val_epoch(runner)


def _trained(runner: Runner) -> bool:
    return runner.iter >= runner.max_iters


def _metrics_file(runner: Runner) -> str:
    return osp.join(runner.work_dir, 'metrics.json')


def _plain(metrics: Optional[dict]) -> dict:
    """Metrics for JSON, which knows no NaN (a class without boxes)."""
    numbers = {k: float(v) for k, v in (metrics or {}).items()}
    return {k: v if math.isfinite(v) else None for k, v in numbers.items()}


def _unwrapped(runner: Runner) -> torch.nn.Module:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _check_once(runner: Runner) -> None:
    from ..single_query import check_before_training
    check_before_training(runner.cfg, _unwrapped(runner))


def _query_once(runner: Runner, model: torch.nn.Module,
                metrics: dict) -> None:
    from ..single_query import query_after_training
    chosen = query_after_training(runner.cfg, model, runner.work_dir)
    runner.logger.info(f'Selected {chosen}.')

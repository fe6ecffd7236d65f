"""What every training of mmal needs of its runner."""
from __future__ import annotations

import time
from typing import Optional

import torch
from mmdet.evaluation import CocoMetric
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmal.dist import on_main
from mmal.models.utils.evaluation_mode import share_buffers
from mmal.pool.layout import RoundDir
from ..metrics_file import finite_or_none, read_metrics, write_metrics
from .divergence import ADVICE


class TrainingHook(Hook):
    """Stops a training that diverges, times it and keeps its metrics.

    After training ``seconds`` is its wall time and ``metrics`` what
    validation gave, which is in ``metrics.json`` of the work folder as well.

    Args:
        check_interval (int): Training iterations between two looks for a
            loss that is not finite; the last one of an epoch is always looked
            at, so that no checkpoint is written after it.
    """

    # After EMAHook and the like, before CheckpointHook
    priority = 'LOW'

    def __init__(self, check_interval: int = 20) -> None:
        self.check_interval = check_interval
        self.seconds = 0.0
        self.metrics: dict = {}
        self._start = 0.0
        self._loss: dict = {}

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
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
        """Keep the metrics of the fully trained model; in ``metrics`` the AP
        of one that detects nothing becomes 0."""
        if metrics is not None:
            add_zero_aps(metrics, runner)
        is_trained = runner.iter >= runner.max_iters
        if is_trained and is_main_process():
            write_metrics(RoundDir(runner.work_dir), finite_or_none(metrics))

    def after_train(self, runner: Runner) -> None:
        """Stop the clock; validate where training has not done so at its
        end, was killed after it did, or its metrics are damaged."""
        self.seconds = time.perf_counter() - self._start
        self._loss = {}  # its graph holds the model's parameters
        if runner.val_loop is None:
            return
        metrics = on_main(lambda: read_metrics(RoundDir(runner.work_dir)))
        if metrics is None:
            metrics = finite_or_none(runner.val_loop.run())
        self.metrics = metrics


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


def add_zero_aps(metrics: dict, runner: Runner) -> None:
    """Add the APs that mmdet leaves out.

    Without a single detection its ``CocoMetric`` ends with an error in the
    log and no value, as if nobody had validated. Such a detector misses
    every object: its AP is 0. (That of objects of one size may still be
    undefined.)

    Args:
        metrics (dict): What validation gave; changed in place.
        runner (Runner): Whose validation it was.
    """
    for metric in runner.val_loop.evaluator.metrics:
        if not isinstance(metric, CocoMetric) or metric.format_only:
            continue
        for kind in ('bbox', 'segm'):
            start = f'{metric.prefix}/{kind}_' if metric.prefix else f'{kind}_'
            if kind not in metric.metrics or any(
                    key.startswith(start) for key in metrics):
                continue
            for item in ('mAP', 'mAP_50', 'mAP_75'):
                if item in (metric.metric_items or (item, )):
                    metrics[start + item] = 0.0

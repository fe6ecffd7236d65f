"""One training in a Runner of its own."""
from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import nn

from .hooks.runner_model import validated_model
from .hooks.stop_hook import StopHook
from .hooks.training_hook import TrainingHook
from .runner import ProgressHook, RoundRunner
from .stop_request import request


@dataclass(frozen=True)
class Training:
    """A training that is over.

    Args:
        model (nn.Module): The detector as validation uses it: without the
            wrapper of distributed training, with averaged weights (EMAHook).
        metrics (dict[str, float | None]): What validation gave; empty where
            there is none.
        seconds (float): Wall time.
    """
    model: nn.Module
    metrics: dict
    seconds: float


@contextmanager
def trained(cfg: Config, title: str = 'training') -> Iterator[Training]:
    """Train a config; what was trained is there inside, and freed after.

    Args:
        cfg (Config): See :func:`mmal.engine.round_config.round_config`.
        title (str): What the progress bar calls it.
    """
    runner = RoundRunner.from_cfg(cfg)
    hook = TrainingHook()
    runner.register_hook(hook)
    runner.register_hook(ProgressHook(title))
    runner.register_hook(StopHook())
    try:
        runner.train()
        with validated_model(runner) as model:
            yield Training(model, hook.metrics, hook.seconds)
    finally:
        request.is_deferred = False
        runner.close()
        del runner, hook
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

"""The detector inside a runner."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(runner: Runner) -> nn.Module:
    """The detector of a runner, without distributed training around it."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


@contextmanager
def validated_model(runner: Runner) -> Iterator[nn.Module]:
    """The detector of a runner with the weights that validation uses: the
    averaged ones where there is an EMAHook."""
    hooks = [h for h in runner.hooks if isinstance(h, EMAHook)]
    for hook in hooks:
        hook.before_val_epoch(runner)
    try:
        yield unwrapped(runner)
    finally:
        for hook in hooks:
            hook.after_val_epoch(runner)

"""Stop a training whose loss explodes."""
from __future__ import annotations

from typing import Optional

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmal.registry import HOOKS
from .divergence import ADVICE


@HOOKS.register_module()
class LossLimitHook(Hook):
    """Ends the training at a loss above a limit, with a clear error.

    The authors of "Deep Active Learning for Object Detection with Mixture
    Density Networks" give a training up at 100. A loss that is NaN or
    infinite is found by :class:`ActiveLearningHook` without this hook.

    Args:
        max_loss (float): The largest total loss that is let pass.
        interval (int): Iterations between two looks, each of which waits for
            the device.

    Raises:
        ValueError: If ``max_loss`` is not positive.
    """

    def __init__(self, max_loss: float = 100.0, interval: int = 20) -> None:
        if not max_loss > 0:
            raise ValueError(f'LossLimitHook.max_loss is {max_loss}: give a '
                             'positive number.')
        self.max_loss = max_loss
        self.interval = interval

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch=None,
                         outputs: Optional[dict] = None) -> None:
        """Look at the total loss.

        Raises:
            FloatingPointError: Naming the loss, the iteration and what to do.
        """
        if not self.every_n_train_iters(runner, self.interval):
            return
        loss = float((outputs or {}).get('loss', 0.0))
        if loss > self.max_loss:
            raise FloatingPointError(
                f'training exploded in {runner.work_dir} at iteration '
                f'{runner.iter + 1}: the loss is {loss:.4g}, more than '
                f'max_loss = {self.max_loss:g} of LossLimitHook. {ADVICE}')

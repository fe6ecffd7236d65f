"""Stop the gradient of learning loss after some epochs."""
from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmal.registry import HOOKS
from .runner_model import unwrapped


@HOOKS.register_module()
class LossHeadDetachHook(Hook):
    """From an epoch on, the loss prediction head no longer trains the trunk.

    "Influence Selection for Active Learning", appendix D.1: after 120 of 200
    epochs. ``model.loss_head.detach`` counts iterations instead, of which an
    epoch has more in each round.

    Args:
        epoch (int): How many epochs train the trunk, >= 0.

    Raises:
        ValueError: If ``epoch`` is negative, or, when training starts, the
            model has no loss prediction head.
    """

    def __init__(self, epoch: int) -> None:
        if epoch < 0:
            raise ValueError(f'LossHeadDetachHook.epoch is {epoch}: give a '
                             'number of epochs, at least 0.')
        self.epoch = epoch

    def before_train(self, runner: Runner) -> None:
        """See that there is a loss prediction head."""
        if not hasattr(unwrapped(runner), 'loss_head'):
            raise ValueError(
                'custom_hooks has a LossHeadDetachHook, but '
                f'{type(unwrapped(runner)).__name__} has no loss_head: leave '
                'it out.')

    def before_train_epoch(self, runner: Runner) -> None:
        """Let the gradient through, or not."""
        unwrapped(runner).loss_head.detach = runner.epoch >= self.epoch

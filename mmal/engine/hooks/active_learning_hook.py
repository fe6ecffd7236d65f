"""The hook that ends a training by mmdet's own tools with a query."""
from __future__ import annotations

from mmengine.runner import Runner

from mmal.registry import HOOKS
from ..single_query import check_before_training, query_after_training
from .runner_model import unwrapped, validated_model
from .training_hook import TrainingHook


@HOOKS.register_module()
class ActiveLearningHook(TrainingHook):
    """After training: validate, score the pool and select.

    Written into ``custom_hooks`` as ``dict(type='mmal.ActiveLearningHook')``
    it makes one query after a training with mmdet's own ``tools/train.py``:
    the pool is ``active_learning.data.ann_file`` less the images trained on,
    and ``selected.json`` in the work folder is the result. The trainings of
    :class:`~mmal.engine.ActiveLearner` do without it.

    Args:
        check_interval (int): See :class:`TrainingHook`.
    """

    def before_train(self, runner: Runner) -> None:
        """Check what the query needs.

        Raises:
            FileNotFoundError, ValueError: Naming the key.
        """
        check_before_training(runner.cfg, unwrapped(runner))
        super().before_train(runner)

    def after_train(self, runner: Runner) -> None:
        """Make the query."""
        super().after_train(runner)
        with validated_model(runner) as model:
            result = query_after_training(runner.cfg, model, runner.work_dir)
        runner.logger.info(f'Selected {result}.')

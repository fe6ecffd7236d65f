"""mmengine's runner as a round uses it: quiet, and gone when it is done."""
from __future__ import annotations

import logging
import sys
from typing import Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin
from tqdm import tqdm

from mmal.compat.quiet import KNOWN_LOG_LINES, log_in_utf8

_SHOW_PROGRESS_AFTER = 5.0  # seconds


class RoundRunner(Runner):
    """A runner whose log goes to its file; warnings are shown as well.

    A run is many trainings in one process. What mmengine prints of each (the
    config, every hook, a line for each parameter) would bury what the run
    has to say.
    """

    def build_logger(self,
                     log_level: int | str = 'INFO',
                     log_file: Optional[str] = None,
                     **kwargs) -> MMLogger:
        """See mmengine's Runner."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        log_in_utf8(logger)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(max(handler.level, logging.WARNING))
                handler.addFilter(_is_news)
        return logger

    def close(self) -> None:
        """Close the log file, and drop what mmengine keeps by name.

        Loggers, message hubs, visualizers and scopes stay for ever
        otherwise, with an open file for each training.
        """
        self.visualizer.close()
        names = {self.experiment_name, self.visualizer.instance_name}
        for handler in list(self.logger.handlers):
            self.logger.removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                handler.close()
        for kind in _all_subclasses(ManagerMixin):
            instances = kind.__dict__.get('_instance_dict', {})
            for name in names & instances.keys():
                del instances[name]


class ProgressHook(Hook):
    """A bar with the time left, for trainings that take a while.

    Args:
        title (str): What is trained.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str) -> None:
        self.title = title
        self._training: Optional[tqdm] = None
        self._validation: Optional[tqdm] = None

    def before_train(self, runner: Runner) -> None:
        """Start where the training does."""
        self._training = _bar(self.title, runner.max_iters, runner.iter)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """One step further."""
        self._training.update()

    def before_val(self, runner: Runner) -> None:
        """A bar of its own."""
        self._validation = _bar(f'{self.title}, validation',
                                len(runner.val_dataloader))

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """One step further."""
        self._validation.update()

    def after_val(self, runner: Runner) -> None:
        """Take the bar away."""
        self._validation.close()

    def after_train(self, runner: Runner) -> None:
        """Take the bar away."""
        self._training.close()


def _bar(title: str, total: int, done: int = 0) -> tqdm:
    return tqdm(
        initial=done,
        total=total,
        desc=title,
        unit='it',
        delay=_SHOW_PROGRESS_AFTER,
        # a log file gets a line now and then
        mininterval=.5 if sys.stderr.isatty() else 30,
        disable=not is_main_process())


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(KNOWN_LOG_LINES)


def _all_subclasses(cls: type) -> set[type]:
    below = set(cls.__subclasses__())
    return below.union(*map(_all_subclasses, below))

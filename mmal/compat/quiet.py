"""What other libraries print in every run and nobody can act on."""
from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

# mmengine's own calls of its old file client, and what mmdet says of a
# detector that finds nothing, whose AP of 0 the table shows
KNOWN_LOG_LINES = ('"FileClient" will be deprecated',
                   '"HardDiskBackend" is the alias',
                   'The testing results of the whole dataset is empty',
                   'Since `metrics` is an empty dict')


def quiet_libraries() -> None:
    """Keep known chatter off the console of a command.

    pycocotools prints four lines for each file that it reads and a table for
    each evaluation, whose numbers are in the metrics; mmdet calls
    ``torch.meshgrid`` in a way that torch warns of.
    """
    import pycocotools.coco
    import pycocotools.cocoeval
    for module in (pycocotools.coco, pycocotools.cocoeval):
        module.print = _print_nothing
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    # a name that mmengine knows already keeps its first arguments
    warnings.filterwarnings('ignore', message=r'.*instance named of .* has '
                            'been created, the method `get_instance`')


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Only warnings of mmengine's current logger inside, and nothing that is
    printed: where a model is made or evaluated on the way."""
    from mmengine.logging import MMLogger

    # logging.disable would not reach a logger of mmengine that has logged
    # before: it remembers what it may log
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _print_nothing(*args, **kwargs) -> None:
    pass


def log_in_utf8(logger: logging.Logger) -> None:
    """Let the log files of a logger be UTF-8.

    mmengine opens them in the encoding of the locale; one that is ASCII
    would have every line with another character be an error on the screen.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream:
            handler.stream.reconfigure(encoding='utf-8')

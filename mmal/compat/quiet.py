"""What other libraries print in every run and nobody can act on."""
from __future__ import annotations

import warnings

# of mmengine's own calls of its old file client
KNOWN_LOG_LINES = ('"FileClient" will be deprecated',
                   '"HardDiskBackend" is the alias')


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


def _print_nothing(*args, **kwargs) -> None:
    pass

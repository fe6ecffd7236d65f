"""Taking the work folder of something that is trained once."""
from __future__ import annotations

import os.path as osp

from mmal.fileio import discard_leftovers, read_json, write_json
from .identity import differences
from .workdir import RoundDir, WorkDir


def claim(work: WorkDir, content: dict, resume: bool) -> None:
    """Take a work folder, or make sure it is of the same training.

    What it was taken for is written to ``identity.json``.

    Args:
        work (WorkDir): The folder.
        content (dict): All that decides the result, see
            :func:`mmal.engine.identity.identity`.
        resume (bool): Whether to go on with what is there.

    Raises:
        ValueError: If it holds something else, or the same and ``resume`` is
            False.
    """
    if osp.exists(work.identity):
        _compare(work, read_json(work.identity), content, resume)
    elif osp.exists(work.state) or osp.exists(
            work.config) or RoundDir(work.path).checkpoints():
        # whose checkpoints must not be taken for those of this one
        raise ValueError(f'{work.path} holds another training: choose '
                         'another folder with --work-dir.')
    discard_leftovers(work.path)
    write_json(work.identity, content, indent=1)


def _compare(work: WorkDir, old: dict, new: dict, resume: bool) -> None:
    where = work.path
    if osp.exists(work.state):
        raise ValueError(f'{where} holds a run of active learning: choose '
                         'another folder with --work-dir.')
    if not resume:
        raise ValueError(f'{where} already holds a training. Go on with it '
                         'by --resume, or choose another folder with '
                         '--work-dir.')
    changed = differences(old, new)
    if changed:
        shown = '\n  '.join(changed[:10])
        raise ValueError(
            f'{where} was made with other settings:\n  {shown}\nUndo these '
            'changes to resume it, or choose another folder with --work-dir.')

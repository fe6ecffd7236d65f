"""Taking a work folder: for a run, or for something that is trained once."""
from __future__ import annotations

import os
import os.path as osp

from mmal.fileio import discard_leftovers, read_json, write_json, write_text
from mmal.pool import State
from mmal.pool.layout import RoundDir, WorkDir
from .fingerprint import differences, digest

# Keys of what comes after the scores.
_AFTER_SCORES = ('active_learning.selector.', 'active_learning.budget.',
                 'active_learning.oracle.')


def lock_run_dir(work: WorkDir,
                 fingerprint: dict,
                 resume: bool,
                 text: str,
                 accept_changes: bool = False) -> bool:
    """Make sure a work folder belongs to a config.

    Args:
        work (WorkDir): The folder.
        fingerprint (dict): See :func:`mmal.engine.fingerprint.fingerprint`.
        resume (bool): Whether ``--resume`` was given.
        text (str): The config as text, kept for the reader.
        accept_changes (bool): Go on with another config all the same; scores
            of an interrupted query are then made again if need be.

    Returns:
        bool: Whether there is a run to go on with.

    Raises:
        ValueError: If the folder holds a run and ``resume`` is False, or a
            run of another config; the message lists the keys that differ.
    """
    if not osp.exists(work.state):
        if osp.exists(work.round(0).path):
            raise ValueError(
                f'{work.path} has rounds but no state.json, so nobody can '
                'tell what made them. Remove the folder, or choose another '
                'one with --work-dir.')
    elif not resume:
        raise ValueError(
            f'{work.path} already holds a run. Go on with it by --resume, '
            'or choose another folder with --work-dir.')
    else:
        state = State.load(work.state)
        if state.config_hash != digest(fingerprint):
            if not accept_changes:
                _refuse_changes(work, fingerprint)
            _forget_scores(work, len(state.rounds) - 1, fingerprint)
        elif not accept_changes:
            return True  # with the config as it was written at first
    write_json(work.identity, fingerprint, indent=1)
    write_text(work.config, text)
    return osp.exists(work.state)


def _refuse_changes(work: WorkDir, fingerprint: dict) -> None:
    changed = ['its identity.json is missing']
    if osp.exists(work.identity):
        changed = differences(read_json(work.identity), fingerprint)
    shown = '\n  '.join(changed[:10])
    more = f'\n  … {len(changed) - 10} more' if len(changed) > 10 else ''
    raise ValueError(
        f'{work.path} was made by another config:\n  {shown}{more}\nUndo '
        'these changes to resume it, take them over for the rounds to come '
        'with --resume force, or choose another folder with --work-dir.')


def _forget_scores(work: WorkDir, round: int, fingerprint: dict) -> None:
    """Remove what an interrupted query has scored with other settings.

    Scores stay where only what comes after them was changed.
    """
    old = read_json(work.identity) if osp.exists(work.identity) else {}
    changed = differences(old, fingerprint)
    still_valid = changed and all(
        c.startswith(_AFTER_SCORES) for c in changed)
    scores = work.round(round).scores
    if osp.exists(scores) and not still_valid:
        os.unlink(scores)


def lock_training_dir(work: WorkDir, fingerprint: dict, resume: bool) -> None:
    """Take a work folder, or make sure it is of the same training.

    What it was taken for is written to ``identity.json``.

    Args:
        work (WorkDir): The folder.
        fingerprint (dict): All that decides the result, see
            :func:`mmal.engine.fingerprint.fingerprint`.
        resume (bool): Whether to go on with what is there.

    Raises:
        ValueError: If it holds something else, or the same and ``resume`` is
            False.
    """
    where = work.path
    if not osp.exists(work.identity):
        # Checkpoints of another training must not be taken for those of
        # this one.
        if osp.exists(work.state) or osp.exists(
                work.config) or RoundDir(where).checkpoints():
            raise ValueError(f'{where} holds another training: choose '
                             'another folder with --work-dir.')
    elif osp.exists(work.state):
        raise ValueError(f'{where} holds a run of active learning: choose '
                         'another folder with --work-dir.')
    elif not resume:
        raise ValueError(f'{where} already holds a training. Go on with it '
                         'by --resume, or choose another folder with '
                         '--work-dir.')
    else:
        changed = differences(read_json(work.identity), fingerprint)
        if changed:
            shown = '\n  '.join(changed[:10])
            raise ValueError(
                f'{where} was made with other settings:\n  {shown}\nUndo '
                'these changes to resume it, or choose another folder with '
                '--work-dir.')
    discard_leftovers(where)
    write_json(work.identity, fingerprint, indent=1)

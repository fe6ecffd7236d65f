"""The pool of a run and its file."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence
from typing import Optional

from mmal.fileio import read_json, write_json, write_text
from mmal.pool import BadImage, Pool, State
from .identity import differences, digest
from .workdir import WorkDir

# Keys of what comes after the scores.
_AFTER_SCORES = ('active_learning.selector.', 'active_learning.budget.',
                 'active_learning.oracle.')


class RunState:
    """What is committed; written as a whole after every change.

    Args:
        work (WorkDir): The work folder.
        pool (Pool): The pool.
        config_hash (str): Hash of the run's config.
        seed (int): The run's seed.
        stopped (str, optional): Why the run is over.
        notes (list[str], optional): Remarks for the report.
    """

    def __init__(self,
                 work: WorkDir,
                 pool: Pool,
                 config_hash: str,
                 seed: int,
                 stopped: Optional[str] = None,
                 notes: Optional[list[str]] = None) -> None:
        self.work = work
        self.pool = pool
        self.config_hash = config_hash
        self.seed = seed
        self.stopped = stopped
        self.notes = notes or []

    @property
    def round(self) -> int:
        """The round to train next or now."""
        return self.pool.num_rounds - 1

    def commit(self,
               ids: list,
               bad: list[BadImage],
               note: str,
               repeated: Sequence = ()) -> None:
        """Add a round to the pool in memory; :meth:`save` makes it last."""
        self.pool.set_aside(bad)
        if not ids and not repeated:
            self.stopped = 'exhausted'
            return
        new = self.pool.commit(ids, self.seed, repeated)
        if note:
            self.notes.append(f'round {new}: {note}')

    def save(self) -> None:
        """Write ``state.json``."""
        self.pool.save(
            self.work.state,
            self.config_hash,
            self.seed,
            self.stopped,
            notes=self.notes)

    @classmethod
    def load(cls, work: WorkDir, ids: list) -> RunState:
        """Read ``state.json``.

        Args:
            work (WorkDir): The work folder.
            ids (list[int | str]): All ids of the pool file.
        """
        state = State.load(work.state)
        return cls(work, Pool.from_state(state, ids), state.config_hash,
                   state.seed, state.stopped, state.meta.get('notes'))


def claim(work: WorkDir,
          identity: dict,
          resume: bool,
          text: str,
          accept_changes: bool = False) -> bool:
    """Make sure a work folder belongs to a config.

    Args:
        work (WorkDir): The folder.
        identity (dict): See :func:`mmal.engine.identity.identity`.
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
    if osp.exists(work.state):
        if not resume:
            raise ValueError(
                f'{work.path} already holds a run. Go on with it by --resume, '
                'or choose another folder with --work-dir.')
        if not accept_changes:
            _check_same(work, identity)
            return True
        _forget_scores(work, identity)
    else:
        _check_fresh(work)
    write_json(work.identity, identity, indent=1)
    write_text(work.config, text)
    return osp.exists(work.state)


def _forget_scores(work: WorkDir, identity: dict) -> None:
    """Remove what an interrupted query has scored with other settings."""
    state = State.load(work.state)
    if state.config_hash == digest(identity):
        return
    old = read_json(work.identity) if osp.exists(work.identity) else {}
    changed = differences(old, identity)
    scores = work.round(len(state.rounds) - 1).scores
    if osp.exists(scores) and not (
            changed and all(c.startswith(_AFTER_SCORES) for c in changed)):
        os.unlink(scores)


def _check_fresh(work: WorkDir) -> None:
    if osp.exists(work.round(0).path):
        raise ValueError(
            f'{work.path} has rounds but no state.json, so nobody can tell '
            'what made them. Remove the folder, or choose another one with '
            '--work-dir.')


def _check_same(work: WorkDir, identity: dict) -> None:
    old = State.load(work.state).config_hash
    if old == digest(identity):
        return
    changed = ['its identity.json is missing']
    if osp.exists(work.identity):
        changed = differences(read_json(work.identity), identity)
    shown = '\n  '.join(changed[:10])
    more = f'\n  … {len(changed) - 10} more' if len(changed) > 10 else ''
    raise ValueError(
        f'{work.path} was made by another config:\n  {shown}{more}\nUndo '
        'these changes to resume it, take them over for the rounds to come '
        'with --resume force, or choose another folder with --work-dir.')

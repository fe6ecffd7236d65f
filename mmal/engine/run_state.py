"""The pool of a run and its file."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from mmal.pool import Pool, State, UnreadableImage
from mmal.pool.layout import WorkDir


class RunState:
    """What is committed; written as a whole after every change.

    Args:
        work (WorkDir): The work folder.
        pool (Pool): The pool.
        config_hash (str): Hash of the run's config.
        seed (int): The run's seed.
        stopped (str, optional): Why the run is over.
        notes (list[str], optional): Remarks for the report.
        environment (dict, optional): Processes, versions and the like that
            it was last run with.
    """

    def __init__(self,
                 work: WorkDir,
                 pool: Pool,
                 config_hash: str,
                 seed: int,
                 stopped: Optional[str] = None,
                 notes: Optional[list[str]] = None,
                 environment: Optional[dict] = None) -> None:
        self.work = work
        self.pool = pool
        self.config_hash = config_hash
        self.seed = seed
        self.stopped = stopped
        self.notes = notes or []
        self.environment = environment or {}
        self.news: list[str] = []  # since the run was last seen

    @property
    def round(self) -> int:
        """The round to train next or now."""
        return self.pool.num_rounds - 1

    def commit(self,
               ids: list,
               unreadable: list[UnreadableImage],
               note: str,
               reselected: Sequence = ()) -> None:
        """Add a round to the pool in memory; :meth:`save` makes it last."""
        self.pool.set_unreadable(unreadable)
        if not ids and not reselected:
            self.stopped = 'exhausted'
            return
        new = self.pool.commit(ids, self.seed, reselected)
        if note:
            self.notes.append(f'round {new}: {note}')

    def add_notes(self, news: Sequence[str]) -> None:
        """Remark what is new since the run was last seen, each once."""
        self.news = list(news)
        notes = (f'round {self.round}: {text}' for text in news)
        self.notes += [note for note in notes if note not in self.notes]

    def save(self) -> None:
        """Write ``state.json``."""
        self.pool.save(
            self.work.state,
            self.config_hash,
            self.seed,
            self.stopped,
            notes=self.notes,
            environment=self.environment)

    @classmethod
    def load(cls, work: WorkDir, ids: list) -> RunState:
        """Read ``state.json``.

        Args:
            work (WorkDir): The work folder.
            ids (list[int | str]): All ids of the pool file.
        """
        state = State.load(work.state)
        return cls(work, Pool.from_state(state, ids), state.config_hash,
                   state.seed, state.stopped, state.meta.get('notes'),
                   state.meta.get('environment'))

"""The pool of a run and its file."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from mmal.pool import Pool, State, UnreadableImage
from mmal.pool.coco import some
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

    def set_unreadable(self, images: Sequence[UnreadableImage]) -> None:
        """Take images that broke since the last round was committed out of
        the pool, in memory.

        Labelled ones are quarantined from the present round on.

        Args:
            images (Sequence[UnreadableImage]): Any images of the pool; those
                that are known to be unreadable are passed over.
        """
        for of_pool, take_out, kind in (
                (self.pool.labelled(), self.pool.quarantine, 'labelled'),
                (self.pool.unlabelled(), self.pool.set_unreadable,
                 'unlabelled')):
            ids = set(of_pool)
            broken = [image for image in images if image.id in ids]
            if broken:
                take_out(broken)
                names = some([image.file_name for image in broken])
                self.notes.append(
                    f'round {self.round}: {len(broken):,} {kind} image(s) '
                    f'can no longer be read and are left out from here on '
                    f'({names})')

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
        run = cls(work, Pool.from_state(state, ids), state.config_hash,
                  state.seed, state.stopped, state.meta.get('notes'))
        if len(ids) != state.num_images:
            run.notes.append(
                f'round {run.round}: the pool lists {len(ids):,} images now, '
                f'{state.num_images:,} before')
        return run

"""How the page of a run was asked for, to make it again alike."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mmal.fileio import read_json, write_json
from mmal.pool.layout import WorkDir
from .embedding_map import MAPS


@dataclass(frozen=True)
class PageOptions:
    """``report.json`` of a work folder; a run makes its page by it.

    Args:
        baseline (sequence[str]): Work folders of a baseline, from this one,
            so that they can move together.
        map (str): How embeddings are laid out: a key of
            :data:`~mmal.reporting.embedding_map.MAPS`.

    Raises:
        ValueError: If there is no such map.
    """
    baseline: Sequence[str] = ()
    map: str = 'pca'

    def __post_init__(self) -> None:
        if self.map not in MAPS:
            raise ValueError(f'there is no map {self.map!r}: choose one of '
                             f'{", ".join(MAPS)}.')

    def folders(self, work: WorkDir) -> list[str]:
        """The baseline as paths from where we are."""
        return [osp.normpath(osp.join(work.path, path))
                for path in self.baseline]

    def save(self, work: WorkDir) -> None:
        """Write them atomically."""
        write_json(work.report_options, asdict(self))

    @classmethod
    def load(cls, work: WorkDir) -> PageOptions:
        """Those of a work folder, or the default where it has none.

        Raises:
            ValueError: If the file holds something else.
        """
        if not osp.isfile(work.report_options):
            return cls()
        content = read_json(work.report_options)
        try:
            options = cls(**content)
            if not (isinstance(options.baseline, list | tuple) and all(
                    isinstance(path, str) for path in options.baseline)):
                raise TypeError('baseline must be a list of paths')
        except (TypeError, ValueError) as e:
            raise ValueError(
                f'{work.report_options} holds no options of a page ({e}). '
                'Give them anew to mmal report, or delete it.') from e
        return options


def from_work_dir(paths: Sequence[str], work: WorkDir) -> list[str]:
    """Paths as seen from a work folder; absolute on another drive."""
    seen = []
    for path in paths:
        try:
            seen.append(osp.relpath(path, work.path).replace(os.sep, '/'))
        except ValueError:
            seen.append(osp.abspath(path))
    return seen

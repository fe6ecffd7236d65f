"""What a scorer says of a pool: all that a selector reads, and one file."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from mmal.fileio import atomic_write, open_rows, save_rows
from mmal.randomness import seeded_uniform
from mmal.types import ImageId


@dataclass
class Scores:
    """The informativeness of N images; higher means: label it first.

    Args:
        ids (sequence[int | str]): N image ids, all different.
        values (sequence[float]): float64 [N]. ``-inf`` puts an image last;
            NaN is an error.
        tiebreak (sequence[float], optional): float64 [N] in [0, 1); settles
            equal values, the smaller one goes first. By default a random
            number of each id.
        columns (mapping[str, np.ndarray]): More values of each image, arrays
            whose first dimension is N (components, per-class scores).
        embeddings (np.ndarray, optional): [N, D], float32 or float16; often
            memory-mapped.
        unreadable (dict[int | str, str]): Images without a score because
            their file cannot be read, and why.

    Raises:
        ValueError: If lengths differ, an id is there twice, or a value is
            NaN; the message names the images.

    Examples:
        >>> from mmal.selection import TopN
        >>> TopN().select(Scores(['a', 'b', 'c'], [.2, .9, .5]), 2)
        ['b', 'c']
    """
    ids: list[ImageId]
    values: np.ndarray
    tiebreak: Optional[np.ndarray] = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    embeddings: Optional[np.ndarray] = None
    unreadable: dict[ImageId, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = list(self.ids)
        self.values = np.asarray(self.values, dtype=np.float64)
        if self.tiebreak is None:
            self.tiebreak = seeded_uniform(self.ids, 'tiebreak')
        self.tiebreak = np.asarray(self.tiebreak, dtype=np.float64)

        n = len(self.ids)
        if len(set(self.ids)) < n:
            raise ValueError('an id is there twice: give each image one of '
                             'its own.')
        for name in ('values', 'tiebreak'):
            shape = getattr(self, name).shape
            if shape != (n, ):
                raise ValueError(f'Scores of {n} images, but {name!r} has the '
                                 f'shape {list(shape)}: give one number per '
                                 'image.')
        arrays = dict(self.columns)
        if self.embeddings is not None:
            arrays['embeddings'] = self.embeddings
        for name, array in arrays.items():
            if len(array) != n:
                raise ValueError(
                    f'Scores of {n} images, but {name!r} has {len(array)} '
                    'rows: each array needs one row per image.')
        # Sorted, NaN would end up somewhere; an image that shall come last
        # has -inf.
        overflowed = np.flatnonzero(np.isnan(self.values))
        if len(overflowed):
            names = ', '.join(str(self.ids[i]) for i in overflowed[:5])
            raise ValueError(
                f'{len(overflowed)} of {n} scores are NaN (image ids {names}'
                f'{", …" if len(overflowed) > 5 else ""}). The model or the '
                'scorer overflowed on them: check that the training loss is '
                'finite and lower the learning rate.')

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: Iterable[ImageId]) -> list[float]:
        """The values of some images, in the order of ``ids``."""
        index = {image: i for i, image in enumerate(self.ids)}
        return [float(self.values[index[i]]) for i in ids]

    def take(self, rows) -> Scores:
        """The scores of some rows, in their order.

        Args:
            rows (slice | np.ndarray): int64 [n] or bool [N].
        """
        index = np.arange(len(self))[rows]
        return Scores(
            ids=[self.ids[i] for i in index],
            values=self.values[rows],
            tiebreak=self.tiebreak[rows],
            columns={k: np.asarray(v)[rows]
                     for k, v in self.columns.items()},
            embeddings=None
            if self.embeddings is None else self.embeddings[rows],
            unreadable=self.unreadable)

    def save(self, path: str) -> None:
        """Write an npz file atomically: ids, values, tiebreak, ``col_*``.

        Embeddings are in a file ``embeddings.npy`` beside it, which is
        written first unless they were read from it.
        """
        arrays = {f'col_{k}': v for k, v in self.columns.items()}
        rows = self.embeddings
        if rows is not None:
            beside = embeddings_path(path)
            # Rows mapped from this very file are there already.
            if not (isinstance(rows, np.memmap) and osp.abspath(
                    str(rows.filename)) == osp.abspath(beside)):
                save_rows(beside, [rows], *rows.shape, rows.dtype)
            arrays['embeddings_shape'] = rows.shape
        with atomic_write(path) as f:
            np.savez(
                f,
                ids=np.asarray(self.ids),
                values=self.values,
                tiebreak=self.tiebreak,
                bad_ids=np.asarray(list(self.unreadable)),
                bad_reasons=np.asarray(list(self.unreadable.values())),
                **arrays)

    @classmethod
    def load(cls, path: str) -> Scores:
        """Read what :meth:`save` wrote.

        Embeddings are memory-mapped; None if their file is gone or has
        another shape.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the disk cannot read it.
            ValueError: If it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as z:
                arrays = {key: z[key] for key in z.files}
            columns = {k[4:]: v for k, v in arrays.items()
                       if k.startswith('col_')}
            # Their file may have been written anew since, for another pool.
            embeddings = None
            if 'embeddings_shape' in arrays:
                embeddings = open_rows(embeddings_path(path))
                if embeddings is not None and \
                        embeddings.shape != tuple(arrays['embeddings_shape']):
                    embeddings = None
            return cls(
                ids=arrays['ids'].tolist(),
                values=arrays['values'],
                tiebreak=arrays['tiebreak'],
                columns=columns,
                embeddings=embeddings,
                unreadable=dict(
                    zip(arrays['bad_ids'].tolist(),
                        arrays['bad_reasons'].tolist())))
        except OSError as e:  # of an open file it does not say which
            if e.filename is None and e.errno is not None:
                raise OSError(e.errno, e.strerror, path) from e
            raise
        except Exception as e:  # zip files break in many ways
            reason = f'{type(e).__name__}: {e}'
            if 'allow_pickle' in reason:  # advice that nobody should take
                reason = 'it holds python objects, which mmal never writes'
            raise ValueError(
                f'{path} holds no whole scores ({reason}). Restore it from a '
                'copy; a query that is not done scores again with '
                '--resume.') from e

    def __getstate__(self) -> dict:
        """Memory-mapped embeddings travel as the name of their file."""
        state = dict(self.__dict__)
        if isinstance(self.embeddings, np.memmap):
            state['embeddings'] = str(self.embeddings.filename)
        return state

    def __setstate__(self, state: dict) -> None:
        """Open the file again."""
        self.__dict__.update(state)
        if isinstance(self.embeddings, str):
            self.embeddings = open_rows(self.embeddings)


def as_scores(scores) -> Scores:
    """Scores as they are, or plain numbers as scores.

    Args:
        scores (Scores | sequence[float] | Tensor): Of N images; plain numbers
            [N] belong to the ids 0 to N - 1.

    Raises:
        ValueError: See :class:`Scores`.
    """
    if isinstance(scores, Scores):
        return scores
    if hasattr(scores, 'detach'):  # a tensor, on any device
        scores = scores.detach().cpu().numpy()
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f'scores of the shape {list(values.shape)} were '
                         'given: give one number per image.')
    return Scores(range(len(values)), values)


def embeddings_path(path: str) -> str:
    """The file of the embeddings beside a file of scores."""
    return osp.join(osp.dirname(osp.abspath(path)), 'embeddings.npy')

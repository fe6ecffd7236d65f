"""What a scorer says of a pool, as one object and one file."""
from __future__ import annotations

import os.path as osp
from dataclasses import dataclass, field
from typing import Optional, Union

import numpy as np

from mmal.fileio import atomic_write
from .embeddings import open_rows, save_rows

ImageId = Union[int, str]


@dataclass
class Scores:
    """The informativeness of N images; higher means: label it first.

    Args:
        ids (list[int | str]): N image ids.
        values (np.ndarray): float64 [N]. ``-inf`` puts an image last; NaN is
            an error.
        tiebreak (np.ndarray): float64 [N] in [0, 1); settles equal values,
            the smaller one goes first.
        columns (dict[str, np.ndarray]): More values of each image, arrays
            whose first dimension is N (components, per-class scores).
        embeddings (np.ndarray, optional): [N, D], float32 or float16; often
            memory-mapped.
        unreadable (dict[int | str, str]): Images without a score because
            their file cannot be read, and why.

    Raises:
        ValueError: If lengths differ or a value is NaN; the message names the
            images.
    """
    ids: list[ImageId]
    values: np.ndarray
    tiebreak: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    embeddings: Optional[np.ndarray] = None
    unreadable: dict[ImageId, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = np.asarray(self.values, dtype=np.float64)
        self.tiebreak = np.asarray(self.tiebreak, dtype=np.float64)
        self._check_lengths()
        self._check_nan()

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: list[ImageId]) -> list[float]:
        """The values of some images, in the order of ``ids``."""
        index = {image: i for i, image in enumerate(self.ids)}
        return [float(self.values[index[i]]) for i in ids]

    def without(self, ids: list[ImageId]) -> Scores:
        """The scores of all images but these."""
        drop = set(ids)
        keep = [i for i, image in enumerate(self.ids) if image not in drop]
        return Scores(
            ids=[self.ids[i] for i in keep],
            values=self.values[keep],
            tiebreak=self.tiebreak[keep],
            columns={k: v[keep]
                     for k, v in self.columns.items()},
            embeddings=None
            if self.embeddings is None else self.embeddings[keep],
            unreadable=self.unreadable)

    def save(self, path: str) -> None:
        """Write an npz file atomically: ids, values, tiebreak, ``col_*``.

        Embeddings are in a file ``embeddings.npy`` beside it, which is
        written first unless they were read from it.
        """
        arrays = {f'col_{k}': v for k, v in self.columns.items()}
        if self.embeddings is not None:
            self._save_embeddings(embeddings_path(path))
            arrays['embeddings_shape'] = self.embeddings.shape
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
        """
        with np.load(path, allow_pickle=False) as z:
            columns = {k[4:]: z[k] for k in z.files if k.startswith('col_')}
            return cls(
                ids=z['ids'].tolist(),
                values=z['values'],
                tiebreak=z['tiebreak'],
                columns=columns,
                embeddings=_load_embeddings(path, z.get('embeddings_shape')),
                unreadable=dict(
                    zip(z['bad_ids'].tolist(), z['bad_reasons'].tolist())))

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

    def _save_embeddings(self, path: str) -> None:
        rows = self.embeddings
        own = isinstance(rows, np.memmap) and \
            osp.abspath(str(rows.filename)) == osp.abspath(path)
        if not own:
            save_rows(path, [rows], *rows.shape, rows.dtype)

    def _check_lengths(self) -> None:
        n = len(self.ids)
        arrays = dict(
            values=self.values, tiebreak=self.tiebreak, **self.columns)
        if self.embeddings is not None:
            arrays['embeddings'] = self.embeddings
        for name, array in arrays.items():
            if len(array) != n:
                raise ValueError(
                    f'Scores of {n} images, but {name!r} has {len(array)} '
                    'rows: each array needs one row per image.')

    def _check_nan(self) -> None:
        bad = np.flatnonzero(np.isnan(self.values))
        if len(bad):
            names = ', '.join(str(self.ids[i]) for i in bad[:5])
            raise ValueError(
                f'{len(bad)} of {len(self.ids)} scores are NaN (image ids '
                f'{names}{", …" if len(bad) > 5 else ""}). The model or the '
                'scorer overflowed on them: check that the training loss is '
                'finite and lower the learning rate.')


def embeddings_path(path: str) -> str:
    """The file of the embeddings beside a file of scores."""
    return osp.join(osp.dirname(osp.abspath(path)), 'embeddings.npy')


def _load_embeddings(path: str, shape) -> Optional[np.ndarray]:
    if shape is None:
        return None
    rows = open_rows(embeddings_path(path))
    return rows if rows is not None and rows.shape == tuple(shape) else None

"""A pool's embeddings on a plane, and when each image was labelled."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from mmal.colours import class_colours, hexadecimal
from mmal.fileio import open_rows, read_json
from mmal.pool.layout import RoundDir
from mmal.scores import Scores
from mmal.types import ImageId
from .embedding_map import MAPS, EmbeddingMap

GREY = '#9aa3ad'  # of images that nobody chose


@dataclass(frozen=True)
class PoolMap:
    """Images on a plane.

    Args:
        round (int): The round whose detector made the embeddings.
        points (EmbeddingMap): Where the images lie.
        ids (list[int | str]): Their ids.
        rounds (list[int | None]): When each was labelled, from 0; None of
            those that are not.
    """
    round: int
    points: EmbeddingMap
    ids: list[ImageId]
    rounds: list[Optional[int]]

    @classmethod
    def of(cls,
           number: int,
           ids: Sequence[ImageId],
           embeddings: np.ndarray,
           rounds: Mapping[ImageId, int],
           kind: str = 'pca',
           whole: bool = False) -> PoolMap:
        """Lay embeddings out.

        Args:
            number (int): The round whose detector made them.
            ids (sequence[int | str]): N images.
            embeddings (np.ndarray): [N, D], may be memory-mapped.
            rounds (mapping[int | str, int]): When each was labelled.
            kind (str): A key of ``MAPS``. Where that needs what is not
                installed there are principal components, and a note.
            whole (bool): Show all images, not a sample of those without a
                round.
        """
        keep = np.array([whole or i in rounds for i in ids], dtype=bool)
        try:
            points = MAPS[kind](embeddings, keep)
        except ImportError as e:
            points = replace(MAPS['pca'](embeddings, keep), note=str(e))
        shown = [ids[row] for row in points.rows.tolist()]
        return cls(number, points, shown, [rounds.get(i) for i in shown])

    @property
    def groups(self) -> dict[Optional[int], tuple[str, str]]:
        """Name and colour of the images of each round that there is, those
        not chosen first."""
        chosen = sorted(n for n in set(self.rounds) if n is not None)
        # round n is trained on what the query of n - 1 chose
        names = ['first labelled set' if n == 0 else f'chosen after round '
                 f'{n - 1}' for n in chosen]
        colours = map(hexadecimal, class_colours(len(chosen)))
        return {None: ('not chosen', GREY),
                **dict(zip(chosen, zip(names, colours)))}


def stored_embeddings(
    scores: Scores,
    folder: RoundDir,
    labelled: Optional[Sequence[ImageId]] = None
) -> tuple[list[ImageId], np.ndarray]:
    """Embeddings that a query has left: of its candidates and, where it kept
    them, of the images that were labelled before.

    Args:
        scores (Scores): Of the N candidates, with embeddings.
        folder (RoundDir): The files of the round.
        labelled (sequence[int | str], optional): The L ids in the round's
            ``labelled.json``, where they are known.

    Returns:
        tuple: Ids, and rows [N, D] or [N + L, D].
    """
    ids, rows = list(scores.ids), scores.embeddings
    # in the order of the file that the round was trained on
    known = open_rows(folder.embeddings_labelled)
    if known is not None and known.shape[1] == rows.shape[1]:
        if labelled is None:
            labelled = [i['id'] for i in read_json(folder.labelled)['images']]
        if len(labelled) == len(known):
            ids, rows = [*ids, *labelled], np.concatenate([rows, known])
    return ids, rows

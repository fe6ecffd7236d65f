"""The loop over the pool: every image once, whatever the processes."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object
from torch import nn

from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.randomness import seeded_uniform
from mmal.scores import Scores
from mmal.scoring.embeddings.base import Extractor
from mmal.scoring.embeddings.store import EmbeddingFile, EmbeddingShard
from .base import BaseScorer
from .batch import Batch
from .data import ScoringData

EMBEDDING = 'embedding'


def score_pool(model: nn.Module,
               scorer: BaseScorer,
               data: ScoringData,
               split: str = 'unlabelled',
               known: Optional[Scores] = None,
               embeddings: Optional[EmbeddingFile] = None) -> Scores:
    """Score every image of a split.

    Images that cannot be read get no score and are named in
    ``Scores.unreadable``; whoever asked decides what that means.

    Cost: one forward pass per image (plus what the scorer prepares), shared
    over the processes. All processes return the same scores.

    Args:
        model (nn.Module): The trained detector, not wrapped for distributed
            training. It is in eval mode inside and restored after.
        scorer (BaseScorer): Gives one value per image.
        data (ScoringData): The images.
        split (str): Which split to score.
        known (Scores, optional): Scores of some of its images by the same
            model; only the others are looked at.
        embeddings (EmbeddingFile, optional): Where to write an embedding of
            each image, see :mod:`mmal.scoring.embeddings.store`; then every scorer
            looks at the images. ``known`` must have embeddings too.

    Returns:
        Scores: In the order of the pool file; its embeddings are those of the
        file, memory-mapped.

    Raises:
        ValueError: If a score is NaN, or the model has no backbone where
            embeddings are asked for.
    """
    with ExitStack() as stack:
        part = stack.enter_context(embeddings.part()) if embeddings else None
        with evaluation_mode(model):
            scorer.prepare(model, data)
            rows = _score_shard(model, scorer, data, split, known, part)
        parts = all_gather_object((rows, data.unreadable[split]))
        rows = [rows for rows, _ in parts] + _rows_of(known, part is None)
        scores = _assemble(scorer, data, split, rows)
        if embeddings:
            scores.embeddings = embeddings.join(
                scores.ids, part,
                None if known is None else (known.ids, known.embeddings))
    scores.unreadable = {k: v for _, bad in parts for k, v in bad.items()}
    return scores


def _rows_of(known: Optional[Scores], embeddings: bool) -> list[dict]:
    if known is None or not len(known):
        return []
    rows = {k: [v] for k, v in known.columns.items()}
    if embeddings and known.embeddings is not None:
        rows[EMBEDDING] = [known.embeddings]
    return [dict(rows, ids=known.ids)]


def _score_shard(model, scorer, data, split, known,
                 part: Optional[EmbeddingShard]) -> dict[str, list]:
    rows = defaultdict(list)
    looks = scorer.needs_images or part is not None
    with _watching(model, scorer, data, part) as embedder:
        for batch in _batches(model, data, split, known, looks):
            if embedder is not None:
                embedder.set_batch(batch)
            columns = dict(scorer.process(model, batch))
            if part is not None:
                own = columns.pop(EMBEDDING, None)
                part.add(batch.ids,
                         embedder.embedding() if own is None else own)
            _add(rows, batch, columns)
    return dict(rows)


@contextmanager
def _watching(model, scorer, data,
              part: Optional[EmbeddingShard]) -> Iterator[Optional[Extractor]]:
    """Watch the model if its embeddings are wanted."""
    if part is None or scorer.needs_embeddings:
        yield None
        return
    with data.embedder.attach(model) as embedder:
        yield embedder


def _batches(model, data, split, known, looks: bool) -> Iterator[Batch]:
    if not looks:
        yield from data.id_batches(split)
        return
    done = set() if known is None else set(known.ids)
    left = [i for i in data.ids(split) if i not in done]
    yield from data.batches(split, model, left, desc='scoring')


def _add(rows: dict[str, list], batch: Batch, columns: dict) -> None:
    rows['ids'].extend(batch.ids)
    for name, column in columns.items():
        if len(column) != len(batch):
            raise ValueError(
                f'the scorer returned {len(column)} rows of {name!r} for '
                f'{len(batch)} images: it must return one for each.')
        rows[name].append(_to_numpy(column))


def _to_numpy(column) -> np.ndarray:
    if torch.is_tensor(column):
        column = column.detach().cpu().numpy()
    return np.asarray(column)


def _assemble(scorer, data, split, parts: list[dict]) -> Scores:
    parts = [p for p in parts if p]
    found = [i for p in parts for i in p['ids']]
    order = {image: n for n, image in enumerate(data.ids(split))}
    index = np.argsort([order[i] for i in found], kind='stable')
    names = [k for k in parts[0] if k != 'ids'] if parts else ['score']
    columns = {}
    for name in names:
        arrays = [a for p in parts for a in p[name]]
        columns[name] = np.concatenate(arrays)[index] if arrays else \
            np.zeros(0)
    embeddings = columns.pop(EMBEDDING, None)
    ids = [found[i] for i in index]
    return Scores(
        ids=ids,
        values=scorer.compute(columns),
        tiebreak=seeded_uniform(ids, data.seed, data.round, 'tie'),
        columns=columns,
        embeddings=embeddings)

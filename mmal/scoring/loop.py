"""The loop over the pool: every image once, whatever the processes."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object, broadcast
from torch import nn

from mmal.compat.losses import local_losses
from mmal.randomness import seeded_uniform
from .base import BaseScorer
from .data import Batch, ScoringData
from .scores import Scores

EMBEDDING = 'embedding'


def score_pool(model: nn.Module,
               scorer: BaseScorer,
               data: ScoringData,
               split: str = 'unlabelled',
               known: Optional[Scores] = None) -> Scores:
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

    Returns:
        Scores: In the order of the pool file.

    Raises:
        ValueError: If a score is NaN.
    """
    was_training = model.training
    model.eval()
    share_buffers(model)
    try:
        with local_losses(), full_precision():
            scorer.prepare(model, data)
            rows = _score_shard(model, scorer, data, split, known)
    finally:
        model.train(was_training)
    parts = all_gather_object((rows, data.unreadable[split]))
    rows = [rows for rows, _ in parts] + _rows_of(known)
    scores = _assemble(scorer, data, split, rows)
    scores.unreadable = {k: v for _, bad in parts for k, v in bad.items()}
    return scores


def share_buffers(model: nn.Module) -> None:
    """Give every process the batch norm statistics of process 0.

    Distributed training leaves each process its own, and only those of
    process 0 are in the checkpoint.

    Args:
        model (nn.Module): Its buffers are changed in place.
    """
    for buffer in model.buffers():
        broadcast(buffer)


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch TensorFloat-32 off.

    With its 10 bits, scores would depend visibly on the batch size.
    """
    if not torch.cuda.is_available():
        yield
        return
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [b.allow_tf32 for b in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, flag in zip(backends, before):
            backend.allow_tf32 = flag


def _rows_of(known: Optional[Scores]) -> list[dict]:
    if known is None or not len(known):
        return []
    rows = {k: [v] for k, v in known.columns.items()}
    if known.embeddings is not None:
        rows[EMBEDDING] = [known.embeddings]
    return [dict(rows, ids=known.ids)]


def _score_shard(model, scorer, data, split, known) -> dict[str, list]:
    rows = defaultdict(list)
    if scorer.needs_images:
        done = set() if known is None else set(known.ids)
        left = [i for i in data.ids(split) if i not in done]
        batches = data.batches(split, model, left, desc='scoring')
    else:
        batches = data.id_batches(split)
    for batch in batches:
        _add(rows, batch, scorer.process(model, batch))
    return dict(rows)


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

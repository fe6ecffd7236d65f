"""The loop over the pool: every image once, whatever the processes."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Optional, Union

import numpy as np
import torch
from mmengine.dist import all_gather_object, broadcast
from torch import nn

from mmal.compat.losses import local_losses
from mmal.randomness import seeded_uniform
from .base import BaseScorer
from .data import Batch, ImageId, ScoringData
from .embedding_model import SecondEmbedder
from .embeddings import Embedder, EmbeddingFile, Part
from .layer_embedder import LayerWatcher
from .scores import Scores

EMBEDDING = 'embedding'
AnyEmbedder = Union[Embedder, LayerWatcher, SecondEmbedder]


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
            each image, see :mod:`mmal.scoring.embeddings`; then every scorer
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
        with _ready(model):
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


def embed_split(
        model: nn.Module,
        data: ScoringData,
        split: str,
        file: EmbeddingFile,
        ids: Optional[list[ImageId]] = None
) -> tuple[list[ImageId], Optional[np.ndarray]]:
    """Write embeddings of a split; only the backbone runs.

    Args:
        model (nn.Module): The detector. It is in eval mode inside and
            restored after.
        data (ScoringData): The images. Those that cannot be read are left out
            and named in ``data.unreadable``.
        split (str): Which split.
        file (EmbeddingFile): Where to.
        ids (list[int | str], optional): Only these images.

    Returns:
        tuple: The ids, in the order of the split's file, and the rows
        [N, D], memory-mapped; None if there is no image.

    Raises:
        ValueError: If the model has no backbone.
    """
    with file.part() as part:
        with _ready(model), _embedder(model, data) as embedder:
            for batch in data.batches(split, model, ids, desc='embedding'):
                embedder.expect(batch)
                part.add(batch.ids, embedder.embedding())
        found = {i for p in all_gather_object(part.ids) for i in p}
        ids = [i for i in data.ids(split) if i in found]
        return ids, file.join(ids, part)


@contextmanager
def _ready(model: nn.Module) -> Iterator[None]:
    """In eval mode, the same in every process, and precise."""
    was_training = model.training
    model.eval()
    share_buffers(model)
    try:
        with local_losses(), full_precision():
            yield
    finally:
        model.train(was_training)


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


def _rows_of(known: Optional[Scores], embeddings: bool) -> list[dict]:
    if known is None or not len(known):
        return []
    rows = {k: [v] for k, v in known.columns.items()}
    if embeddings and known.embeddings is not None:
        rows[EMBEDDING] = [known.embeddings]
    return [dict(rows, ids=known.ids)]


def _score_shard(model, scorer, data, split, known,
                 part: Optional[Part]) -> dict[str, list]:
    rows = defaultdict(list)
    looks = scorer.needs_images or part is not None
    with _watching(model, scorer, data, part) as embedder:
        for batch in _batches(model, data, split, known, looks):
            if embedder is not None:
                embedder.expect(batch)
            columns = dict(scorer.process(model, batch))
            if part is not None:
                own = columns.pop(EMBEDDING, None)
                part.add(batch.ids,
                         embedder.embedding() if own is None else own)
            _add(rows, batch, columns)
    return dict(rows)


@contextmanager
def _watching(model, scorer, data,
              part: Optional[Part]) -> Iterator[Optional[AnyEmbedder]]:
    """Watch the model if its embeddings are wanted."""
    if part is None or scorer.needs_embeddings:
        yield None
        return
    with _embedder(model, data) as embedder:
        yield embedder


def _embedder(model: nn.Module, data: ScoringData) -> AnyEmbedder:
    """Of the detector's own backbone, unless another source is given."""
    return data.embedder.watch(model) if data.embedder else Embedder(model)


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

"""The loop over the pool: every image once, whatever the processes."""
from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, nullcontext
from itertools import chain
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object
from torch import nn

from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.randomness import seeded_uniform
from mmal.scores import Scores
from mmal.scoring.embeddings.store import EmbeddingFile, EmbeddingShard
from mmal.types import ImageId
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
            each image, see :mod:`mmal.scoring.embeddings.store`; then every
            scorer looks at the images. ``known`` must have embeddings too.

    Returns:
        Scores: In the order of the pool file; its embeddings are those of the
        file, memory-mapped.

    Raises:
        ValueError: If a score is NaN, or the model has no backbone where
            embeddings are asked for.
    """
    with ExitStack() as stack:
        shard = stored = None
        if embeddings:
            if embeddings.store:
                stored = embeddings.store.find(data.files(split))
            shard = stack.enter_context(embeddings.shard())
        others = data.committee.models() if data.committee else ()
        with evaluation_mode(model, data.precision, others):
            scorer.prepare(model, data)
            columns = _score_share(
                model, scorer, data, split, known, shard,
                stored.ids if stored else frozenset())
        gathered = all_gather_object((columns, data.unreadable[split]))
        tables = [of_process for of_process, _ in gathered]
        if known is not None and len(known):
            table = {k: [v] for k, v in known.columns.items()}
            # A scorer's own embeddings are a column; those that are written
            # to a file are merged there.
            if shard is None and known.embeddings is not None:
                table[EMBEDDING] = [known.embeddings]
            tables.append(dict(table, ids=known.ids))
        scores = _assemble(scorer, data, split, tables)
        if embeddings:
            scores.embeddings = embeddings.merge_shards(
                scores.ids, shard,
                None if known is None else (known.ids, known.embeddings),
                stored)
    scores.unreadable = {
        image: reason for _, unreadable in gathered
        for image, reason in unreadable.items()
    }
    return scores


def _score_share(model: nn.Module, scorer: BaseScorer, data: ScoringData,
                 split: str, known: Optional[Scores],
                 shard: Optional[EmbeddingShard],
                 stored: frozenset[ImageId]) -> dict[str, list]:
    """Ids and columns of this process' share of a split.

    Embeddings are written to the shard, if there is one, but for those that
    are stored.
    """
    attached = nullcontext()
    if shard is not None and not scorer.needs_embeddings:
        attached = data.embedder.attach(model)
    done = set() if known is None else set(known.ids)
    if scorer.needs_images or shard is not None:
        left = [i for i in data.ids(split) if i not in done]
        if not scorer.needs_images:  # the others need not be looked at
            left = [i for i in left if i not in stored]
        batches = data.batches(split, model, left, desc='scoring')
        if not scorer.needs_images:
            by_id = ([i for i in batch.ids if i in stored and i not in done]
                     for batch in data.id_batches(split))
            batches = chain(batches, (Batch(ids) for ids in by_id if ids))
    else:
        batches = data.id_batches(split)

    columns, last = defaultdict(list), {}
    with attached as extractor:
        for batch in batches:
            new = [n for n, i in enumerate(batch.ids) if i not in stored]
            if extractor is not None and new:
                extractor.set_batch(batch)
            rows = dict(scorer.process(model, batch))
            if shard is not None:
                own = rows.pop(EMBEDDING, None)
                if new:
                    own = extractor.embedding() if own is None else own
                    shard.append([batch.ids[n] for n in new],
                                 own if len(new) == len(batch) else own[new])
            for name, column in rows.items():
                if len(column) != len(batch):
                    raise ValueError(
                        f'the scorer returned {len(column)} rows of {name!r} '
                        f'for {len(batch)} images: it must return one for '
                        'each.')
                if torch.is_tensor(column):
                    rows[name] = column.detach()
            # A batch's rows are fetched when the next one is on its way, so
            # that a GPU has work while the host is busy with the images.
            _fetch(columns, last)
            columns['ids'].extend(batch.ids)
            last = rows
    _fetch(columns, last)
    return dict(columns)


def _fetch(columns: dict[str, list], rows: dict) -> None:
    """Append the rows of a batch to its columns, in the host's memory."""
    for name, column in rows.items():
        if torch.is_tensor(column):
            column = column.cpu().numpy()
        columns[name].append(np.asarray(column))


def _assemble(scorer: BaseScorer, data: ScoringData, split: str,
              tables: list[dict[str, list]]) -> Scores:
    """The scores of all images, in the order of the split's file."""
    # A process without a batch knows no columns.
    tables = [t for t in tables if t]
    ids = [i for t in tables for i in t['ids']]
    position = {image: n for n, image in enumerate(data.ids(split))}
    order = np.argsort([position[i] for i in ids], kind='stable')
    ids = [ids[i] for i in order]
    # Known scores may lack a column: what is summed up elsewhere, or is new.
    names = [k for k in tables[0] if k != 'ids' and all(
        k in t for t in tables)] if tables else ['score']
    columns = {}
    for name in names:
        arrays = [a for t in tables for a in t[name]]
        columns[name] = np.concatenate(arrays)[order] if arrays else \
            np.zeros(0)
    embeddings = columns.pop(EMBEDDING, None)
    return Scores(
        ids=ids,
        values=scorer.compute(columns),
        tiebreak=seeded_uniform(ids, data.seed, data.round, 'tie'),
        columns=scorer.kept_columns(columns),
        embeddings=embeddings)

"""Embeddings of a split without scores; only what gives them runs."""
from __future__ import annotations

from typing import Optional

import numpy as np
from mmengine.dist import all_gather_object
from torch import nn

from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.scoring.data import ScoringData
from mmal.types import ImageId
from .store import EmbeddingFile


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
    stored = file.store.find(data.files(split)) if file.store else None
    known = stored.ids if stored else frozenset()
    wanted = data.ids(split) if ids is None else ids
    left = [i for i in wanted if i not in known]
    with file.shard() as shard:
        with evaluation_mode(model, data.precision), \
                data.embedder.attach(model) as extractor:
            for batch in data.batches(split, model, left, desc='embedding'):
                extractor.set_batch(batch)
                shard.append(batch.ids, extractor.embedding())
        # In the order of the split, without what no process could read.
        embedded = known.intersection(wanted).union(
            *all_gather_object(shard.ids))
        ids = [i for i in data.ids(split) if i in embedded]
        return ids, file.merge_shards(ids, shard, stored=stored)

"""Which anchor (point) of a single-stage head each detection comes from."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn


@contextmanager
def detection_sources(head: nn.Module) -> Iterator[list[InstanceData]]:
    """Inside, detections carry ``source``, the position that gave each.

    ``source`` is int64 [n], rows of mmdet's order of the P positions of an
    image: level, row, column, anchor. mmdet filters the priors of a level by
    an index before it decodes them; priors that note this index take their
    place, and the rest of the prediction, NMS included, is mmdet's own.

    Args:
        head (nn.Module): A dense head whose ``_predict_by_feat_single`` is
            mmdet's ``BaseDenseHead``'s, or filters priors as it does. The
            detections of others carry nothing.

    Yields:
        list[InstanceData]: Gets an item for each image that is predicted,
        ``bboxes`` [m, 4] and ``labels`` [m] of the boxes that NMS is given,
        in the coordinates of the network's input.
    """
    before: list[InstanceData] = []
    if not hasattr(head, '_predict_by_feat_single'):
        yield before
        return
    predict, finish = head._predict_by_feat_single, head._bbox_post_process
    kept: list[Tensor] = []

    def predict_noting(*args, mlvl_priors, **kwargs) -> InstanceData:
        kept.clear()
        starts, noting = 0, []
        for priors in mlvl_priors:
            noting.append(_NotingPriors(priors, starts, kept))
            starts += len(priors)
        return predict(*args, mlvl_priors=noting, **kwargs)

    def finish_noting(results: InstanceData, *args, **kwargs) -> InstanceData:
        if kept:
            results.source = torch.cat(kept)
            # a copy, as boxes may be scaled where they are
            before.append(InstanceData(bboxes=results.bboxes.clone(),
                                       labels=results.labels))
        return finish(results, *args, **kwargs)

    head._predict_by_feat_single = predict_noting
    head._bbox_post_process = finish_noting
    try:
        yield before
    finally:
        # of the object alone: its class has both methods
        del head._predict_by_feat_single, head._bbox_post_process


class _NotingPriors:
    """The priors of a level, which note the rows they are asked for."""

    def __init__(self, priors: Tensor, start: int,
                 kept: list[Tensor]) -> None:
        self._priors = priors
        self._start = start
        self._kept = kept

    def __getitem__(self, index: Tensor) -> Tensor:
        self._kept.append(index + self._start)
        return self._priors[index]

    def __getattr__(self, name: str):
        return getattr(self._priors, name)

    def __len__(self) -> int:
        return len(self._priors)

"""The loss of each image of a batch from the regions drawn from it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partialmethod

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import (
    BBoxHead,
    ConvFCBBoxHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
)
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from ..patch_forward import keeps_rows
from .reductions import Reduction, known_losses, losses_of

_HEADS = (BBoxHead, ConvFCBBoxHead, Shared2FCBBoxHead,
          Shared4Conv1FCBBoxHead)


def takes_regions(roi_head: nn.Module) -> bool:
    """Whether :func:`region_losses` knows an RoI head with its losses.

    Heads of mmdet alone: a class derived from one may sum up otherwise.
    """
    head = getattr(roi_head, 'bbox_head', None)
    return type(roi_head) is StandardRoIHead and type(head) in _HEADS and \
        head.with_cls and head.with_reg and known_losses(head, 'mean') and \
        all(map(keeps_rows, losses_of(head).values()))


def region_losses(roi_head: nn.Module, features: tuple,
                  sampled: Sequence, images: Sequence[int]) -> Tensor:
    """The loss of the second stage for each set of regions.

    Args:
        roi_head (nn.Module): One that :func:`takes_regions` accepts.
        features (tuple[Tensor]): Of backbone and neck.
        sampled (sequence[SamplingResult]): N sets of regions with labels.
        images (sequence[int]): N indices of the images they lie in.

    Returns:
        Tensor: [N], as if each set were alone; zero where it has no region.
    """
    reduction = _Regions(
        roi_head.bbox_head, features[0].new_zeros(len(sampled)), sampled)
    if not any(reduction.counts):
        return reduction.total()
    rois = bbox2roi([s.priors for s in sampled])
    # by set; what the features are read by is the image
    rois[:, 0] = rois.new_tensor(images)[reduction.of_row]
    results = roi_head._bbox_forward(features, rois)
    reduction.run(
        cls_score=results['cls_score'],
        bbox_pred=results['bbox_pred'],
        rois=rois,
        sampling_results=list(sampled),
        rcnn_train_cfg=roi_head.train_cfg)
    return reduction.total()


class _Regions(Reduction):
    """Of an RoI head: rows are sorted by set, which are of any size.

    Args:
        head (nn.Module): The box head.
        zeros (Tensor): [N].
        sampled (sequence[SamplingResult]): N sets.
    """
    has_factors = False
    least = dict(loss_cls=1., loss_bbox=1.)
    loss_bbox = partialmethod(Reduction.add_positives, 'loss_bbox')

    def __init__(self, head: nn.Module, zeros: Tensor,
                 sampled: Sequence) -> None:
        super().__init__(head, zeros)
        self.counts = [len(s.priors) for s in sampled]
        counts = torch.tensor(self.counts, device=zeros.device)
        self.of_row = torch.arange(
            len(counts), device=zeros.device).repeat_interleave(
                counts, output_size=sum(self.counts))
        starts = counts.cumsum(0) - counts
        self.in_set = torch.arange(
            len(self.of_row), device=zeros.device) - starts[self.of_row]
        # all regions of a set divide the loss of its boxes
        self.own['loss_bbox'] = counts.to(zeros)

    def call(self, **results) -> dict:
        """See :meth:`Reduction.call`."""
        return self.head.loss_and_target(**results)

    def by_image(self, values: Tensor) -> Tensor:
        """Sums [N] of all rows."""
        padded = values.new_zeros(len(self.counts), max(self.counts))
        return padded.index_put((self.of_row, self.in_set), values).sum(1)

    def loss_cls(self, forward: Callable, scores: Tensor, labels: Tensor,
                 weight: Tensor, **kwargs) -> Tensor:
        """Regions with a weight divide this loss."""
        self.find_positives(self.with_object(labels))
        self.own['loss_cls'] = self.by_image((weight > 0).to(scores))
        return self.add_rows('loss_cls', forward, scores, labels, weight,
                             **kwargs)

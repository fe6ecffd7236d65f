"""Losses of one forward pass of Faster R-CNN and its relatives."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.utils.per_image import ignored_boxes, map_outputs, per_image
from mmal.models.utils.random_state import preserve_rng_state
from mmal.randomness import seeded_uniform
from mmal.scoring.batch import Batch
from mmal.scoring.detector import (
    clipped,
)
from mmal.types import Outputs
from .base import PseudoLabelAdapter


@dataclass
class _Regions:
    """Of B images.

    Attributes:
        features (tuple[Tensor]): Of backbone and neck.
        rpn (Outputs): What the RPN returned.
    """
    features: tuple
    rpn: Outputs


class TwoStageAdapter(PseudoLabelAdapter):
    """Faster R-CNN and others with an RPN and a ``StandardRoIHead``.

    A loss has all box terms of both stages. Proposals, the regions drawn from
    them and what RoIAlign reads are constants. Samplers draw by (seed, image
    id), so that an image has the same loss in every batch. Masks do not
    count.

    Args:
        model (nn.Module): The detector in eval mode.
        seed (int): Of the samplers.
    """

    @staticmethod
    def accepts(model: nn.Module) -> bool:
        """See :meth:`ModelAdapter.accepts`."""
        return isinstance(model, TwoStageDetector) and model.with_rpn and \
            isinstance(model.roi_head, StandardRoIHead)

    def forward(self, batch: Batch) -> _Regions:
        """See :meth:`ModelAdapter.forward`."""
        features = self.model.extract_feat(batch.inputs)
        return _Regions(features, self.model.rpn_head(features))

    @torch.no_grad()
    def predictions(self, outputs: _Regions,
                    samples: Sequence) -> list[InstanceData]:
        """See :meth:`PseudoLabelAdapter.predictions`."""
        metas = [s.metainfo for s in samples]
        head = self.model.roi_head
        found = head.predict_bbox(
            outputs.features, metas,
            self._proposals(outputs.rpn, metas, self.model.test_cfg.rpn),
            head.test_cfg)
        return [clipped(d, m['img_shape']) for d, m in zip(found, metas)]

    def image_losses(self, outputs: _Regions, samples: Sequence,
                     labels: Sequence[InstanceData]) -> Tensor:
        """See :meth:`ModelAdapter.image_losses`."""
        cfg = self.model.train_cfg
        cfg = cfg.get('rpn_proposal', self.model.test_cfg.rpn)
        losses = [
            self._loss(one, sample, label, cfg) for one, sample, label in zip(
                _split(outputs, len(samples)), samples, labels)
        ]
        return torch.stack(losses) if losses else torch.zeros(0)

    @torch.no_grad()
    def _proposals(self, rpn: Outputs, metas: list,
                   cfg) -> list[InstanceData]:
        rpn = map_outputs(lambda t: t.detach(), rpn)
        return self.model.rpn_head.predict_by_feat(
            *rpn, batch_img_metas=metas, cfg=cfg)

    def _loss(self, outputs: _Regions, sample, label: InstanceData,
              proposal_cfg) -> Tensor:
        """The loss of a single image."""
        metas, ignored = [sample.metainfo], ignored_boxes(sample)
        anything = InstanceData(
            bboxes=label.bboxes, labels=torch.zeros_like(label.labels))
        with seeded(self.seed, sample.metainfo.get('img_id', 0)):
            terms = self.model.rpn_head.loss_by_feat(
                *outputs.rpn, [anything], metas,
                batch_gt_instances_ignore=ignored)
            proposals, = self._proposals(outputs.rpn, metas, proposal_cfg)
            drawn = self._draw(outputs, proposals, label, ignored)
        if len(drawn.priors):
            terms.update(self._region_loss(outputs, drawn))
        return self.model.parse_losses(terms)[0]

    def _draw(self, outputs: _Regions, proposals: InstanceData,
              label: InstanceData, ignored) -> SamplingResult:
        head = self.model.roi_head
        proposals.priors = proposals.pop('bboxes')
        assigned = head.bbox_assigner.assign(
            proposals, label, None if ignored is None else ignored[0])
        return head.bbox_sampler.sample(
            assigned, proposals, label, feats=outputs.features)

    def _region_loss(self, outputs: _Regions, drawn: SamplingResult) -> dict:
        head = self.model.roi_head
        rois = bbox2roi([drawn.priors])
        found = head._bbox_forward(outputs.features, rois)
        return head.bbox_head.loss_and_target(
            cls_score=found['cls_score'],
            bbox_pred=found['bbox_pred'],
            rois=rois,
            sampling_results=[drawn],
            rcnn_train_cfg=head.train_cfg)['loss_bbox']


@contextmanager
def seeded(seed: int, image_id) -> Iterator[None]:
    """Let samplers draw the same for an image, whatever came before.

    Args:
        seed (int): Of the run.
        image_id (int | str): Of the image.
    """
    number = int(seeded_uniform([image_id], seed, 'sampler')[0] * 2**32)
    state = np.random.get_state()
    with preserve_rng_state():
        # torch.manual_seed would leave a GPU's state changed
        torch.default_generator.manual_seed(number)
        np.random.seed(number)
        try:
            yield
        finally:
            np.random.set_state(state)


def _split(outputs: _Regions, batch: int) -> list[_Regions]:
    features = per_image(outputs.features, batch)
    return [_Regions(*both)
            for both in zip(features, per_image(outputs.rpn, batch))]

"""Losses of one forward pass of Faster R-CNN and its relatives."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.utils.per_image import ignored_boxes, map_outputs, per_image
from mmal.models.utils.random_state import preserve_rng_state
from mmal.randomness import seeded_uniform
from mmal.scoring.batch import Batch
from mmal.scoring.detector import clipped
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
        detections = head.predict_bbox(
            outputs.features, metas,
            self._proposals(outputs.rpn, metas, self.model.test_cfg.rpn),
            head.test_cfg)
        return [clipped(d, m['img_shape'])
                for d, m in zip(detections, metas)]

    def image_losses(self, outputs: _Regions, samples: Sequence,
                     labels: Sequence[InstanceData]) -> Tensor:
        """See :meth:`ModelAdapter.image_losses`."""
        losses = [
            self._image_loss(_Regions(features, rpn), sample, label)
            for features, rpn, sample, label in zip(
                per_image(outputs.features, len(samples)),
                per_image(outputs.rpn, len(samples)), samples, labels)
        ]
        return torch.stack(losses) if losses else torch.zeros(0)

    @torch.no_grad()
    def _proposals(self, rpn: Outputs, metas: list,
                   cfg) -> list[InstanceData]:
        rpn = map_outputs(lambda t: t.detach(), rpn)
        return self.model.rpn_head.predict_by_feat(
            *rpn, batch_img_metas=metas, cfg=cfg)

    def _image_loss(self, outputs: _Regions, sample,
                    label: InstanceData) -> Tensor:
        metas, ignored = [sample.metainfo], ignored_boxes(sample)
        head = self.model.roi_head
        # To the RPN everything is an object of one class.
        anything = InstanceData(
            bboxes=label.bboxes, labels=torch.zeros_like(label.labels))
        with seeded(self.seed, sample.metainfo.get('img_id', 0)):
            terms = self.model.rpn_head.loss_by_feat(
                *outputs.rpn, [anything], metas,
                batch_gt_instances_ignore=ignored)
            # As many proposals as in training, of which the sampler draws.
            proposals, = self._proposals(
                outputs.rpn, metas, self.model.train_cfg.get(
                    'rpn_proposal', self.model.test_cfg.rpn))
            proposals.priors = proposals.pop('bboxes')
            assigned = head.bbox_assigner.assign(
                proposals, label, None if ignored is None else ignored[0])
            drawn = head.bbox_sampler.sample(
                assigned, proposals, label, feats=outputs.features)

        # Without a region there is no loss of the second stage.
        if len(drawn.priors):
            rois = bbox2roi([drawn.priors])
            results = head._bbox_forward(outputs.features, rois)
            terms.update(head.bbox_head.loss_and_target(
                cls_score=results['cls_score'],
                bbox_pred=results['bbox_pred'],
                rois=rois,
                sampling_results=[drawn],
                rcnn_train_cfg=head.train_cfg)['loss_bbox'])
        return self.model.parse_losses(terms)[0]


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
        # torch.manual_seed would leave a GPU's state changed; mmdet's samplers
        # shuffle on the CPU, some of them by numpy.
        torch.default_generator.manual_seed(number)
        np.random.seed(number)
        try:
            yield
        finally:
            np.random.set_state(state)

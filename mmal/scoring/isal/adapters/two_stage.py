"""Losses of one forward pass of Faster R-CNN and its relatives."""
from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Optional

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.utils.batch_losses import (
    batch_losses,
    region_losses,
    takes_batches,
    takes_regions,
)
from mmal.models.utils.per_image import (
    ignored_boxes,
    ignored_by_image,
    map_outputs,
    per_image,
)
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

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        super().__init__(model, seed)
        if model.roi_head.with_mask:
            _warn_of_masks()

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
        if samples and self.takes_batches():
            return self._batch_losses(outputs, samples, labels)
        losses = [
            self._image_loss(_Regions(features, rpn), sample, label)
            for features, rpn, sample, label in zip(
                per_image(outputs.features, len(samples)),
                per_image(outputs.rpn, len(samples)), samples, labels)
        ]
        return torch.stack(losses) if losses else torch.zeros(0)

    def takes_batches(self) -> bool:
        """See :meth:`PseudoLabelAdapter.takes_batches`."""
        return takes_batches(self.model.rpn_head) and takes_regions(
            self.model.roi_head)

    def losses_both_ways(self, outputs: _Regions, samples: Sequence,
                         labels: Sequence[InstanceData]) -> Tensor:
        """See :meth:`PseudoLabelAdapter.losses_both_ways`."""
        return self._batch_losses(outputs, samples, labels)

    @torch.no_grad()
    def _proposals(self, rpn: Outputs, metas: list,
                   cfg) -> list[InstanceData]:
        rpn = map_outputs(lambda t: t.detach(), rpn)
        return self.model.rpn_head.predict_by_feat(
            *rpn, batch_img_metas=metas, cfg=cfg)

    def _batch_losses(self, outputs: _Regions, samples: Sequence,
                      labels: Sequence[InstanceData]) -> Tensor:
        """[W * B], of B images with labels in W ways, way by way."""
        rpn, head = self.model.rpn_head, self.model.roi_head
        images = list(range(len(samples))) * (len(labels) // len(samples))
        metas = [samples[i].metainfo for i in images]
        ignored = ignored_by_image([samples[i] for i in images])
        draws = [seeded(self.seed, m.get('img_id', 0)) for m in metas]
        # Proposals and features are the same in all ways.
        index = torch.tensor(images).to(outputs.features[0].device,
                                        non_blocking=True)
        with drawn_by_image(rpn, draws):
            losses = batch_losses(
                rpn, map_outputs(lambda x: x[index], outputs.rpn), metas,
                [_anything(label) for label in labels], ignored)
        proposals = self._training_proposals(outputs.rpn, samples)
        features = per_image(outputs.features, len(samples))
        drawn = []
        for i, label, leave_out, draw in zip(images, labels, ignored, draws):
            with draw:
                drawn.append(self._draw_regions(features[i], proposals[i],
                                                label, leave_out))
        return losses + region_losses(head, outputs.features, drawn, images)

    def _training_proposals(self, rpn: Outputs,
                            samples: Sequence) -> list[InstanceData]:
        """As many proposals as in training, of which the sampler draws."""
        return self._proposals(
            rpn, [s.metainfo for s in samples],
            self.model.train_cfg.get('rpn_proposal', self.model.test_cfg.rpn))

    def _draw_regions(self, features: tuple, proposals: InstanceData,
                      label: InstanceData,
                      ignored: Optional[InstanceData]) -> SamplingResult:
        """The regions of an image that the second stage learns from."""
        head = self.model.roi_head
        proposals = InstanceData(priors=proposals.bboxes)
        assigned = head.bbox_assigner.assign(proposals, label, ignored)
        return head.bbox_sampler.sample(
            assigned, proposals, label, feats=features)

    def _image_loss(self, outputs: _Regions, sample,
                    label: InstanceData) -> Tensor:
        metas, ignored = [sample.metainfo], ignored_boxes(sample)
        head = self.model.roi_head
        with seeded(self.seed, sample.metainfo.get('img_id', 0)):
            terms = self.model.rpn_head.loss_by_feat(
                *outputs.rpn, [_anything(label)], metas,
                batch_gt_instances_ignore=ignored)
            proposals, = self._training_proposals(outputs.rpn, [sample])
            drawn = self._draw_regions(outputs.features, proposals, label,
                                       None if ignored is None else ignored[0])

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


def _anything(label: InstanceData) -> InstanceData:
    """To the RPN everything is an object of one class."""
    return InstanceData(
        bboxes=label.bboxes, labels=torch.zeros_like(label.labels))


@cache
def _warn_of_masks() -> None:
    print_log(
        'The loss of the mask head is left out of the influence of an image: '
        'only the boxes and classes of both stages count.', 'current',
        logging.WARNING)


class seeded(AbstractContextManager):
    """Let samplers draw the same for an image, whatever came before.

    Entered again, it goes on where it was left.

    Args:
        seed (int): Of the run.
        image_id (int | str): Of the image.
    """

    def __init__(self, seed: int, image_id) -> None:
        self.number = int(seeded_uniform([image_id], seed, 'sampler')[0] *
                          2**32)
        self._states: Optional[tuple] = None

    def __enter__(self) -> seeded:
        self._before = torch.get_rng_state(), np.random.get_state()
        if self._states is None:
            # torch.manual_seed would leave a GPU's state changed; mmdet's
            # samplers shuffle on the CPU, some of them by numpy.
            torch.default_generator.manual_seed(self.number)
            np.random.seed(self.number)
        else:
            _set_states(*self._states)
        return self

    def __exit__(self, *exc) -> None:
        self._states = torch.get_rng_state(), np.random.get_state()
        _set_states(*self._before)


def _set_states(of_torch: Tensor, of_numpy: tuple) -> None:
    torch.set_rng_state(of_torch)
    np.random.set_state(of_numpy)


@contextmanager
def drawn_by_image(head: nn.Module,
                   draws: Sequence[AbstractContextManager]) -> Iterator[None]:
    """Inside, the sampler of a head draws for the images of a batch in turn.

    Args:
        head (nn.Module): A dense head with a ``sampler``.
        draws (sequence[context manager]): To draw in, one for each image.
    """
    sampler = head.sampler
    head.sampler = _SamplerOfImages(sampler, draws)
    try:
        yield
    finally:
        head.sampler = sampler


class _SamplerOfImages:

    def __init__(self, sampler, draws: Sequence) -> None:
        self.sampler = sampler
        self.draws = iter(draws)

    def sample(self, *args, **kwargs) -> SamplingResult:
        with next(self.draws):
            return self.sampler.sample(*args, **kwargs)

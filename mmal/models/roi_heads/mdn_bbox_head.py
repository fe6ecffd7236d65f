"""Faster R-CNN's box head with mixtures of Gaussians."""
from __future__ import annotations

from typing import NamedTuple, Optional, Union

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.models.losses import accuracy
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.registry import MODELS
from mmal.uncertainty import at_least_float32
from ..layers import BoxOutput, ClassOutput, GaussianMixture
from ..layers.detection_fields import uncertainty_fields
from ..losses import (
    MixtureCrossEntropyLoss,
    MixtureNLLLoss,
    uncertainty_weight,
)
from ..losses.weighting_options import weighting_options
from ..utils.box_mixture import delta_mixture_fields
from ..utils.box_std import mixture_box_std


class StageScores(NamedTuple):
    """What a cascade knows of the classes of n proposals.

    Args:
        logits (Tensor): [n, C], the mean over the stages.
        raw (Tensor): Raw class outputs of the last stage, [n, channels].
    """
    logits: Tensor
    raw: Tensor


@MODELS.register_module()
class MDNShared2FCBBoxHead(Shared2FCBBoxHead):
    """Box head of Faster R-CNN with mixture density outputs.

    "Deep Active Learning for Object Detection with Mixture Density Networks",
    sections 3.1 and 4.2. The shared layers are mmdet's; ``fc_cls`` and
    ``fc_reg`` emit all components at once. For mmdet's ``StandardRoIHead``
    and :class:`MDNCascadeRoIHead`; RoI heads that read logits or deltas
    themselves (other cascades, PISA, Double-Head) are refused in the first
    step, Dynamic R-CNN by mmdet when it is built.

    A detection's ``InstanceData`` carries ``box_aleatoric`` and
    ``box_epistemic`` [n, 4] (eq. 1 on the deltas of the predicted class),
    ``box_std`` [n, 4] (of x1, y1, x2, y2 in pixels of the image that the
    boxes are given in, the proposals taken as certain), ``cls_aleatoric`` and
    ``cls_epistemic`` [n] (of the predicted class) and ``class_probs``
    [n, num_classes + 1], background last, through NMS. Only a batch without
    any proposal, which never reaches the head, lacks them. With
    ``test_cfg.rcnn.box_mixture=True`` it also carries the mixtures of x1, y1,
    x2, y2, ``box_mixture_means``, ``box_mixture_stds`` and
    ``box_mixture_weights`` [n, K², 4].

    Args:
        box_components (int): K of each box coordinate; 0 leaves mmdet's
            deltas and their loss.
        cls_components (int): K of the classes; 0 leaves a plain softmax and
            its loss.
        cls_variance (bool): False is the efficient form ("Ours*"), whose
            logits have no variances.
        weighting (dict, optional): Weights the positives by eq. 9, as the
            efficient form does: ``alpha`` (4.0), ``detach`` (True) and
            ``box`` (True), whether the box loss is weighted too.
        loss_cls (dict, optional): Defaults to eq. 5, or to mmdet's default
            without components.
        loss_bbox (dict, optional): Defaults to eq. 3, or to mmdet's default
            without components.
        **kwargs: Of mmdet's ``Shared2FCBBoxHead``.

    Raises:
        ValueError: If a loss does not suit the components, ``weighting`` is
            set but a side has no mixture, or mixtures are asked to regress
            decoded boxes.
    """

    def __init__(self,
                 box_components: int = 4,
                 cls_components: int = 4,
                 cls_variance: bool = True,
                 weighting: Optional[dict] = None,
                 loss_cls: Optional[dict] = None,
                 loss_bbox: Optional[dict] = None,
                 **kwargs) -> None:
        if loss_cls is not None or cls_components:
            kwargs['loss_cls'] = loss_cls or _loss(MixtureCrossEntropyLoss)
        if loss_bbox is not None or box_components:
            kwargs['loss_bbox'] = loss_bbox or _loss(MixtureNLLLoss)
        super().__init__(**kwargs)
        self.cls_output = ClassOutput(self.num_classes + 1, cls_components,
                                      cls_variance)
        self.box_output = BoxOutput(box_components)
        self.weighting = weighting_options(weighting, cls_components,
                                           box_components)
        _check_loss('cls', self.cls_output.components, self.loss_cls,
                    MixtureCrossEntropyLoss)
        _check_loss('bbox', self.box_output.components, self.loss_bbox,
                    MixtureNLLLoss)
        if self.reg_decoded_bbox and self.box_output.components:
            raise ValueError(
                'bbox_head.reg_decoded_bbox is True, but mixtures are of '
                'deltas: set it to False, or box_components to 0.')
        if not (self.with_cls and self.with_reg):
            raise ValueError('bbox_head.with_cls and with_reg must be True: '
                             'a detection needs a class and a box.')
        # the last layers with the channels of mixtures, instead of mmdet's
        if self.cls_output.components:
            self.fc_cls = _linear(self.cls_predictor_cfg, self.cls_last_dim,
                                  self.cls_output.channels)
        if self.box_output.components:
            self.fc_reg = _linear(self.reg_predictor_cfg, self.reg_last_dim,
                                  self._boxes * self.box_output.channels)

        # set by a cascade that knows how to read the outputs
        self.is_stage = False

    @property
    def has_mixtures(self) -> bool:
        """Whether classes or boxes have components."""
        return bool(self.cls_output.components or self.box_output.components)

    @property
    def _boxes(self) -> int:
        """How many boxes a proposal has."""
        return 1 if self.reg_class_agnostic else self.num_classes

    def forward(self, x: Tensor, *others) -> tuple[Tensor, Tensor]:
        """Raw outputs of n proposals.

        Args:
            x (Tensor): Features [n, channels, height, width].
            *others: None; RoI heads that give more are refused.

        Returns:
            tuple[Tensor, Tensor]: Of the classes [n, channels] and of the
            boxes [n, boxes * channels].

        Raises:
            ValueError: If there are other features.
        """
        if others:
            raise ValueError(
                f'bbox_head.type is {type(self).__name__}, which reads one '
                'feature of a proposal, but roi_head gives it '
                f'{1 + len(others)}. {_SUPPORTED}')
        return super().forward(x)

    def loss(self,
             cls_score: Tensor,
             bbox_pred: Tensor,
             rois: Tensor,
             labels: Tensor,
             label_weights: Tensor,
             bbox_targets: Tensor,
             bbox_weights: Tensor,
             reduction_override: Optional[str] = None) -> dict:
        """The losses of n proposals, averaged as mmdet does.

        Args:
            cls_score (Tensor): Raw class outputs [n, channels].
            bbox_pred (Tensor): Raw box outputs [n, boxes * channels].
            rois (Tensor): [n, 5], not used by mixtures.
            labels (Tensor): int64 [n] in [0, num_classes], background last.
            label_weights (Tensor): [n].
            bbox_targets (Tensor): Deltas [n, 4], divided by their stds.
            bbox_weights (Tensor): [n, 4].
            reduction_override (str, optional): As of mmdet's losses.

        Returns:
            dict: ``loss_cls``, ``acc`` (in %) and ``loss_bbox``, which is 0
            without positives.

        Raises:
            ValueError: If one side is None, as samplers may ask.
        """
        if not self.has_mixtures:
            return super().loss(cls_score, bbox_pred, rois, labels,
                                label_weights, bbox_targets, bbox_weights,
                                reduction_override)
        if cls_score is None or bbox_pred is None:
            raise ValueError(
                'train_cfg.rcnn.sampler asks for the loss of classes alone, '
                'as ScoreHLRSampler of PISA does, which reads logits: set its '
                f"type to 'RandomSampler'. {_SUPPORTED}")
        # mmdet leaves out the loss of a side that is None
        losses = super().loss(
            None if self.cls_output.components else cls_score,
            None if self.box_output.components else bbox_pred, rois, labels,
            label_weights, bbox_targets, bbox_weights, reduction_override)
        # Numbers, not a mask, which would make a GPU wait at each use.
        positive = ((labels >= 0) &
                    (labels < self.num_classes)).nonzero().squeeze(1)
        boxes = self._box_mixture(bbox_pred, positive, labels[positive])
        # eq. 9's factor of each proposal, 1 for negatives
        factor = torch.ones_like(labels, dtype=torch.float32)
        if self.weighting:
            own = uncertainty_weight(
                boxes,
                self.cls_output.mixture(cls_score[positive], variance=False),
                labels[positive], self.weighting['alpha'],
                self.weighting['detach'])
            factor = factor.to(own).index_put((positive, ), own)
        if self.cls_output.components:
            classes = self.cls_output.mixture(cls_score)
            losses['loss_cls'] = self.loss_cls(
                classes, labels, label_weights * factor,
                # all proposals that count, as mmdet: not the positives
                (label_weights > 0).sum().clamp(min=1), reduction_override)
            losses['acc'] = accuracy(classes.probs.detach(), labels)
        if boxes is not None:
            if self.weighting.get('box'):
                bbox_weights = bbox_weights * factor[:, None]
            losses['loss_bbox'] = self.loss_bbox(
                boxes, bbox_targets[positive], bbox_weights[positive],
                max(len(labels), 1), reduction_override)
        return losses

    def _box_mixture(self, bbox_pred: Tensor, rows: Tensor,
                     labels: Tensor) -> Optional[GaussianMixture]:
        """The boxes [m, K, 4] that some proposals have for these classes."""
        boxes = bbox_pred.reshape(
            len(bbox_pred), self._boxes, self.box_output.channels)
        return self.box_output.mixture(
            boxes[rows, labels.clamp(max=self._boxes - 1)])

    def refine_bboxes(self, sampling_results: list, bbox_results: dict,
                      batch_img_metas: list[dict]) -> list[InstanceData]:
        """The proposals of the next stage in training.

        Args:
            sampling_results (list[SamplingResult]): Of each image.
            bbox_results (dict): With the raw ``cls_score`` and ``bbox_pred``.
            batch_img_metas (list[dict]): Of each image.

        Returns:
            list[InstanceData]: Each with ``bboxes`` [n, 4], the means, without
            true boxes; see mmdet's ``BBoxHead``.

        Raises:
            ValueError: If the RoI head is no :class:`MDNCascadeRoIHead`.
        """
        self._check_cascade()
        logits = self.class_logits(bbox_results['cls_score'])
        return super().refine_bboxes(
            sampling_results, dict(bbox_results, cls_score=logits),
            batch_img_metas)

    def regress_by_class(self, priors: Tensor, label: Tensor,
                         bbox_pred: Tensor, img_meta: dict) -> Tensor:
        """The mean boxes [n, 4] of some classes.

        Args:
            priors (Tensor): [n, 4].
            label (Tensor): int64 [n].
            bbox_pred (Tensor): Raw box outputs [n, boxes * channels].
            img_meta (dict): With ``img_shape``.

        Raises:
            ValueError: If the RoI head is no :class:`MDNCascadeRoIHead`.
        """
        self._check_cascade()
        return super().regress_by_class(
            priors, label, self._mean_deltas(bbox_pred), img_meta)

    def _check_cascade(self) -> None:
        if self.has_mixtures and not self.is_stage:
            raise ValueError(
                'the RoI head refines boxes in stages, but would take the '
                f'mixtures of {type(self).__name__} for logits and deltas. '
                f'{_SUPPORTED}')

    def _mean_deltas(self, bbox_pred: Tensor) -> Tensor:
        """[n, boxes * 4], mmdet's layout, of raw outputs."""
        if not self.box_output.components:
            return bbox_pred
        boxes = bbox_pred.unflatten(-1, (self._boxes, -1))
        return self.box_output.mixture(boxes).mean.flatten(-2)

    def _predict_by_feat_single(
            self,
            roi: Tensor,
            cls_score: Union[Tensor, StageScores],
            bbox_pred: Tensor,
            img_meta: dict,
            rescale: bool = False,
            rcnn_test_cfg: Optional[ConfigDict] = None) -> InstanceData:
        """Detections of one image by eq. 7, see mmdet's ``BBoxHead``."""
        if isinstance(cls_score, StageScores):
            logits, cls_score = cls_score
        else:
            logits = self.class_logits(cls_score)
        results = super()._predict_by_feat_single(
            roi, logits, self._mean_deltas(bbox_pred), img_meta, rescale)
        cfg = rcnn_test_cfg
        if cfg is None:
            return results
        # mmdet's own NMS would not say which proposals are left
        detections, labels, kept = multiclass_nms(
            results.bboxes,
            results.scores,
            cfg.score_thr,
            cfg.nms,
            cfg.max_per_img,
            return_inds=True)
        # it sees a box of each class, one proposal's after another's
        rows = kept // self.num_classes
        boxes = self._box_mixture(bbox_pred, rows, labels)
        classes = self.cls_output.mixture(cls_score[rows]) \
            if self.cls_output.components else None
        fields = uncertainty_fields(boxes, classes, labels)
        std = mixture_box_std(self.bbox_coder, roi[rows, 1:], boxes, img_meta,
                              rescale)
        if std is not None:
            fields['box_std'] = std
        fields.update(delta_mixture_fields(cfg, self.bbox_coder, roi[rows, 1:],
                                           boxes, img_meta, rescale))
        return InstanceData(
            bboxes=detections[:, :-1],
            scores=detections[:, -1],
            labels=labels,
            class_probs=results.scores[rows],
            **fields)

    def class_probabilities(self, cls_score: Tensor) -> Tensor:
        """Eq. 7: the mixed probabilities.

        Args:
            cls_score (Tensor): Raw class outputs, [n, channels].

        Returns:
            Tensor: [n, num_classes + 1] in [0, 1], background last.
        """
        return at_least_float32(self.class_logits(cls_score)).softmax(-1)

    def class_logits(self, cls_score: Tensor) -> Tensor:
        """Logits whose softmax gives the mixed probabilities.

        Args:
            cls_score (Tensor): Raw class outputs, [n, channels].

        Returns:
            Tensor: [n, num_classes + 1], background last.
        """
        if not self.cls_output.components:
            return cls_score
        return self.cls_output.mixture(cls_score, variance=False).probs.log()


_SUPPORTED = ("Set roi_head.type to 'StandardRoIHead', or for a cascade to "
              "'mmal.MDNCascadeRoIHead'.")


def _loss(loss: type) -> dict:
    return dict(type=f'mmal.{loss.__name__}')


def _linear(cfg: dict, in_features: int, out_features: int) -> nn.Module:
    return MMDET_MODELS.build(
        dict(cfg, in_features=in_features, out_features=out_features))


def _check_loss(side: str, components: int, loss: nn.Module,
                wanted: type) -> None:
    if isinstance(loss, wanted) == bool(components):
        return
    other = side.replace('bbox', 'box')
    raise ValueError(
        f'bbox_head.loss_{side} is {type(loss).__name__}, but '
        f'{other}_components is {components}. Mixtures need '
        f"dict(_delete_=True, type='mmal.{wanted.__name__}'), plain outputs "
        "(0 components) one of mmdet's losses.")

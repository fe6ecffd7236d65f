"""SSD whose boxes and classes are mixtures of Gaussians."""
from __future__ import annotations

import copy
from typing import Optional

import torch
from mmdet.models.losses import smooth_l1_loss
from mmdet.models.utils import filter_scores_and_topk
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.registry import MODELS
from ..layers import BoxOutput, ClassOutput
from ..layers.detection_fields import uncertainty_fields
from ..losses import (
    BOX_MIXTURE_LOSSES,
    MixtureCrossEntropyLoss,
    MixtureNLLLoss,
    mixture_cross_entropy,
    uncertainty_weight,
)
from ..losses.weighting_options import weighting_options
from ..utils import flatten_levels
from ..utils.box_mixture import delta_mixture_fields
from ..utils.box_std import mixture_box_std
from ..utils.box_voting import vote
from .ssd_head import SSDHead


@MODELS.register_module()
class MDNSSDHead(SSDHead):
    """SSD head with mixture density outputs.

    "Deep Active Learning for Object Detection with Mixture Density Networks",
    section 3.1. A detection's ``InstanceData`` carries ``box_aleatoric`` and
    ``box_epistemic`` [n, 4] (of the deltas, eq. 1), ``box_std`` [n, 4] (of
    x1, y1, x2, y2 in pixels of the image that the boxes are given in),
    ``cls_aleatoric`` and ``cls_epistemic`` [n] (of the predicted class) and
    ``class_probs`` [n, num_classes + 1], background last, through NMS. They
    cost nothing for anchors below ``score_thr``. With
    ``test_cfg.box_mixture=True`` it also carries the mixtures of x1, y1, x2,
    y2, ``box_mixture_means``, ``box_mixture_stds`` and
    ``box_mixture_weights`` [n, K², 4].

    Args:
        *args: See :class:`SSDHead`.
        box_components (int): K of each box coordinate; 0 leaves mmdet's
            deltas and smooth L1 loss.
        cls_components (int): K of the classes; 0 leaves a plain softmax.
        cls_variance (bool): False is the efficient form ("Ours*"), whose
            logits have no variances.
        weighting (dict, optional): Weights the positives by eq. 9, as the
            efficient form does: ``alpha`` (4.0), ``detach`` (True) and
            ``box`` (True), whether the box loss is weighted too.
        mining_noise (bool): Whether hard negatives are those with the largest
            losses of logits with noise (eq. 4), by which they are trained, as
            the paper can be read. Two draws share hardly more of them than
            chance would, so by default they are mined by the means.
        min_iou (float): λ_ij: positives whose anchor overlaps its object no
            more than that have no loss (0.5 in the paper). 0 keeps all that
            the assigner calls positive, among them the best anchor of an
            object that overlaps none well.
        mean_weight (float): Factor of the smooth L1 loss of the mixtures'
            means (``loss_mean``), which joins eq. 3 as FCOS's own box loss
            does in :class:`MDNFCOSHead`. 0, as in the paper, leaves it out.
        loss_cls (dict): Eq. 5, for positives and hard negatives.
        loss_bbox (dict): Eq. 3, of ``box_components`` > 0. By default its
            β is 0.5 and its weight 0.3, with which boxes and classes pull
            about equally at what they share, as in SSD
            (``benchmarks/loss_balance.py``).
        **kwargs: See :class:`SSDHead`.

    Raises:
        ValueError: If ``weighting`` is set but a side has no mixture, a loss
            does not take mixtures, or decoded boxes are to be regressed.
    """

    def __init__(self,
                 *args,
                 box_components: int = 4,
                 cls_components: int = 4,
                 cls_variance: bool = True,
                 weighting: Optional[dict] = None,
                 mining_noise: bool = False,
                 min_iou: float = 0.,
                 mean_weight: float = 1.,
                 loss_cls: dict = dict(  # noqa: B006
                     type='mmal.MixtureCrossEntropyLoss'),
                 loss_bbox: dict = dict(  # noqa: B006
                     type='mmal.MixtureNLLLoss', beta=0.5, loss_weight=0.3),
                 **kwargs) -> None:
        if not 0 <= min_iou < 1:
            raise ValueError(f'bbox_head.min_iou is {min_iou!r}: give an IoU '
                             'in [0, 1), e.g. 0.5, or 0 for all positives.')
        if not mean_weight >= 0:
            raise ValueError(f'bbox_head.mean_weight is {mean_weight!r}: give '
                             'a number >= 0.')
        self.mining_noise = mining_noise
        self.min_iou = min_iou
        self.mean_weight = mean_weight
        # mmdet's constructor makes the layers, which need these
        self._components = (cls_components, cls_variance, box_components)
        super().__init__(*args, **kwargs)
        self.weighting = weighting_options(weighting, cls_components,
                                           box_components)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        for name, wanted in (('loss_cls', MixtureCrossEntropyLoss),
                             ('loss_bbox', MixtureNLLLoss)):
            loss = getattr(self, name)
            accepted = BOX_MIXTURE_LOSSES if name == 'loss_bbox' else wanted
            if not isinstance(loss, accepted):
                raise ValueError(
                    f'bbox_head.{name} is {type(loss).__name__}, which does '
                    f"not take mixtures: set its type to 'mmal."
                    f"{wanted.__name__}' or leave {name} out.")
        if self.reg_decoded_bbox:
            raise ValueError(
                'bbox_head.reg_decoded_bbox is True, but mmal.MDNSSDHead '
                'learns deltas: set it to False.')

    def _init_layers(self) -> None:
        components, variance, box_components = self._components
        self.cls_output = ClassOutput(self.cls_out_channels, components,
                                      variance)
        self.box_output = BoxOutput(box_components)
        super()._init_layers()
        for convs, output in ((self.cls_convs, self.cls_output),
                              (self.reg_convs, self.box_output)):
            for level, priors in zip(convs, self.num_base_priors):
                # the last of the level's convolutions gives the outputs
                level[-1] = nn.Conv2d(
                    level[-1].in_channels,
                    priors * output.channels,
                    level[-1].kernel_size,
                    stride=level[-1].stride,
                    padding=level[-1].padding)

    def loss_by_feat(self,
                     cls_scores: list[Tensor],
                     bbox_preds: list[Tensor],
                     batch_gt_instances: list[InstanceData],
                     batch_img_metas: list[dict],
                     batch_gt_instances_ignore=None) -> dict[str, Tensor]:
        """Eq. 6: the sum of all losses over the number of positives.

        Args:
            cls_scores (list[Tensor]): Raw class outputs of each level,
                [B, priors * channels, H, W].
            bbox_preds (list[Tensor]): Raw box outputs of each level.
            batch_gt_instances (list[InstanceData]): B sets of boxes.
            batch_img_metas (list[dict]): B meta data.
            batch_gt_instances_ignore (list, optional): Boxes to leave out.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and, with
            ``mean_weight``, ``loss_mean``; 0 without positives.
        """
        anchors, valid = self.get_anchors(
            [level.shape[-2:] for level in cls_scores],
            batch_img_metas,
            device=cls_scores[0].device)
        labels, weights, targets, _, num_pos = self.get_targets(
            anchors,
            valid,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore=batch_gt_instances_ignore)
        labels, weights = torch.cat(labels, 1), torch.cat(weights, 1)
        # Numbers, not a mask, which would make a GPU wait at each use.
        positive = ((labels < self.num_classes) &
                    (weights > 0)).nonzero(as_tuple=True)
        classes = flatten_levels(cls_scores, self.cls_output.channels)
        boxes = flatten_levels(bbox_preds, self.box_output.channels)[positive]
        targets = torch.cat(targets, 1)[positive]
        factor = None
        if self.weighting:  # eq. 9's factor of each positive
            factor = uncertainty_weight(
                self.box_output.mixture(boxes),
                self.cls_output.mixture(classes[positive], variance=False),
                labels[positive], self.weighting['alpha'],
                self.weighting['detach'])
        box_factor = factor if self.weighting.get('box') else None
        if self.min_iou:  # λ_ij of eq. 3, 5 and 9
            indicator = self._indicator(
                torch.cat(anchors[0]).expand(len(labels), -1, -1)[positive],
                targets)
            factor = indicator if factor is None else factor * indicator
            box_factor = (
                indicator if box_factor is None else box_factor * indicator)
        loss_cls = self._class_loss(classes, labels, weights, factor, num_pos)
        losses = dict(loss_cls=loss_cls)
        weight = None if box_factor is None else box_factor[:, None]
        mixture = self.box_output.mixture(boxes)

        def smooth_l1(deltas: Tensor) -> Tensor:
            return smooth_l1_loss(
                deltas,
                targets,
                weight,
                beta=self.train_cfg['smoothl1_beta'],
                reduction='sum') / num_pos

        if mixture is None:
            losses['loss_bbox'] = smooth_l1(boxes)
            return losses
        losses['loss_bbox'] = self.loss_bbox(
            mixture, targets, weight, avg_factor=num_pos)
        if self.mean_weight:
            losses['loss_mean'] = self.mean_weight * smooth_l1(mixture.mean)
        return losses

    def _indicator(self, anchors: Tensor, targets: Tensor) -> Tensor:
        """λ_ij [n]: whether anchors [n, 4] overlap the box of their target."""
        boxes = self.bbox_coder.decode(anchors, targets)
        ious = bbox_overlaps(anchors, boxes, is_aligned=True)
        return (ious > self.min_iou).to(boxes.dtype)

    def _class_loss(self, classes: Tensor, labels: Tensor, weights: Tensor,
                    factor: Optional[Tensor], num_pos: int) -> Tensor:
        """Eq. 5 of the positives and the hard negatives."""
        outputs, noise = self.cls_output, None
        if self.mining_noise and self.training and outputs.components and (
                outputs.variance):
            # Eq. 4's draws for all anchors: a negative is mined by the very
            # loss that it is trained with. Otherwise the loss draws them, of
            # what was chosen.
            shape = (*classes.shape[:-1], outputs.components, outputs.classes)
            noise = torch.randn(shape, device=classes.device)
        positive = (labels < self.num_classes) & (weights > 0)
        if factor is not None:
            ones = torch.ones_like(weights)
            weights = weights * ones.masked_scatter(
                positive, factor.to(weights))
        chosen = (positive | self._hard_negatives(
            classes, labels, weights, noise)).nonzero(as_tuple=True)
        return self.loss_cls(
            outputs.mixture(classes[chosen]),
            labels[chosen],
            weights[chosen],
            avg_factor=num_pos,
            noise=None if noise is None else noise[chosen])

    @torch.no_grad()
    def _hard_negatives(self, classes: Tensor, labels: Tensor, weights: Tensor,
                        noise: Optional[Tensor]) -> Tensor:
        """The negatives of each image with the largest mixture losses."""
        losses = mixture_cross_entropy(
            self.cls_output.mixture(classes.detach().flatten(0, 1)),
            labels.flatten(), None if noise is None else noise.flatten(0, 1))
        negative = (labels == self.num_classes) & (weights > 0)
        losses = losses.view(labels.shape).masked_fill(~negative, -1.0)
        positives = (labels < self.num_classes).sum(1, keepdim=True)
        # of each image by itself: its loss must not depend on the batch
        wanted = positives * self.train_cfg['neg_pos_ratio']
        # an anchor's place in the order by loss: the inverse permutation
        order = losses.argsort(dim=1, descending=True, stable=True)
        rank = torch.arange(order.size(1), device=order.device)
        rank = torch.empty_like(order).scatter_(1, order,
                                                rank.expand_as(order))
        return negative & (rank < wanted)

    def class_probabilities(self, cls_scores: list[Tensor],
                            bbox_preds: list[Tensor]) -> Tensor:
        """Eq. 7: the probabilities of all anchors.

        Args:
            cls_scores (list[Tensor]): Raw class outputs of each level.
            bbox_preds (list[Tensor]): Raw box outputs, not used.

        Returns:
            Tensor: [B, P, num_classes + 1] in [0, 1], background last.
        """
        raw = flatten_levels(cls_scores, self.cls_output.channels)
        return self.cls_output.mixture(raw, variance=False).probs

    def _predict_by_feat_single(self,
                                cls_score_list: list[Tensor],
                                bbox_pred_list: list[Tensor],
                                score_factor_list: list,
                                mlvl_priors: list[Tensor],
                                img_meta: dict,
                                cfg,
                                rescale: bool = False,
                                with_nms: bool = True) -> InstanceData:
        """See mmdet's ``BaseDenseHead``; one image, each level [C, H, W]."""
        cfg = copy.deepcopy(self.test_cfg if cfg is None else cfg)
        results = InstanceData.cat([
            self._candidates(*level, cfg) for level in zip(
                cls_score_list, bbox_pred_list, mlvl_priors)
        ])
        mixture = self.box_output.mixture(results.raw_boxes)
        results.bboxes = self.bbox_coder.decode(
            results.priors,
            results.raw_boxes if mixture is None else mixture.mean,
            max_shape=img_meta['img_shape'])
        voting = cfg.get('box_voting')
        if voting is not None:  # of all candidates, which vote by it
            std = mixture_box_std(self.bbox_coder, results.priors, mixture,
                                  img_meta, rescale)
            if std is not None:
                results.box_std = std
        candidates = results  # whose boxes mmdet scales in place
        results = self._bbox_post_process(
            results=results,
            cfg=cfg,
            rescale=rescale,
            with_nms=with_nms,
            img_meta=img_meta)
        if voting is not None and with_nms:
            results.bboxes = vote(results, candidates, voting)
        # of what is left after NMS alone: few of thousands of anchors
        classes = self.cls_output.mixture(results.pop('raw_classes'))
        boxes = self.box_output.mixture(results.pop('raw_boxes'))
        fields = uncertainty_fields(
            boxes, classes if self.cls_output.components else None,
            results.labels)
        priors = results.pop('priors')
        if voting is None:
            std = mixture_box_std(self.bbox_coder, priors, boxes, img_meta,
                                  rescale)
            if std is not None:
                fields['box_std'] = std
        fields.update(delta_mixture_fields(cfg, self.bbox_coder, priors, boxes,
                                           img_meta, rescale))
        for name, value in fields.items():
            results.set_field(value, name)
        return results

    def _candidates(self, classes: Tensor, boxes: Tensor, priors: Tensor,
                    cfg) -> InstanceData:
        """What one level of an image has above the score threshold."""
        classes = _flatten(classes, self.cls_output.channels)
        probs = self.cls_output.mixture(classes, variance=False).probs
        foreground = probs[:, :-1]
        # mmdet's own default of -1 would leave out the lowest one
        scores, labels, kept, _ = filter_scores_and_topk(
            foreground, cfg.get('score_thr', 0),
            cfg.get('nms_pre', foreground.numel()))
        boxes = _flatten(boxes, self.box_output.channels)
        return InstanceData(
            scores=scores,
            labels=labels,
            class_probs=probs[kept],
            priors=priors[kept],
            raw_classes=classes[kept],
            raw_boxes=boxes[kept])


def _flatten(level: Tensor, channels: int) -> Tensor:
    return level.permute(1, 2, 0).reshape(-1, channels)

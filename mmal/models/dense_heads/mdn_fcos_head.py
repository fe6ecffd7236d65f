"""FCOS whose distances and classes are mixtures."""
from __future__ import annotations

import copy
import math

import torch
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.utils import filter_scores_and_topk
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.registry import MODELS
from ..layers import GaussianMixture
from ..layers.detection_fields import uncertainty_fields
from ..layers.point_outputs import DistanceOutput, SigmoidOutput
from ..losses import BOX_MIXTURE_LOSSES
from ..utils import flatten_levels
from ..utils.box_mixture import mixture_fields

# No box is so large: keeps the areas of wild outputs finite.
_FAR = 1e8
_TINY = 1e-6


@MODELS.register_module()
class MDNFCOSHead(FCOSHead):
    """FCOS head with mixture density outputs.

    MDN ("Deep Active Learning for Object Detection with Mixture Density
    Networks", section 3.1) carried over to mmdet's FCOS. The distances (left,
    top, right, bottom) are mixtures of K Gaussians in the head's own space:
    in strides before the ReLU with ``norm_on_bbox``, else the log of pixels.
    The IoU loss acts on the mixture mean; ``loss_nll``, the mean over the
    sides of eq. 3 weighted by centerness like the IoU loss, joins it. A class
    has the probability sum_k pi_k sigmoid(z_k), whose logit ``loss_cls`` gets.

    ``conv_cls``, ``conv_reg`` and ``conv_centerness`` are FCOS's, and give
    what the components have in common; how they differ is in layers of their
    own (``conv_cls_deltas``, ``conv_cls_weights``, ``conv_reg_deltas``,
    ``conv_reg_variances``, ``conv_reg_weights``). So weights of FCOS load, and
    with those layers zero it predicts exactly what FCOS does.

    A detection's ``InstanceData`` carries ``box_aleatoric`` and
    ``box_epistemic`` [n, 4] (in the head's own space, eq. 1),
    ``cls_aleatoric`` and ``cls_epistemic`` [n] of the predicted class,
    ``class_probs`` [n, num_classes] without centerness, and ``box_std``
    [n, 4], the standard deviation of x1, y1, x2, y2 in pixels of the image
    that the boxes are given in. They are computed after NMS. With
    ``test_cfg.box_mixture=True`` it also carries the mixtures of x1, y1, x2,
    y2, ``box_mixture_means``, ``box_mixture_stds`` and
    ``box_mixture_weights`` [n, K, 4].

    Args:
        *args: See mmdet's ``FCOSHead``.
        box_components (int): K of each distance; 0 leaves FCOS's distances.
        cls_components (int): K of the classes. 1 is FCOS's own layer, seen as
            a mixture of one; 0 too, without uncertainties.
        variance (str): How variances are positive: 'softplus' (at least 1e-4
            and not bounded, since distances err by many strides) or 'sigmoid'
            (at most 1, as in MDN).
        loss_nll (dict): Eq. 3, of ``box_components`` > 0, or
            ``mmal.MixtureEnergyLoss``.
        spread (float): How far the components lie apart at first, in the
            head's own space and in logits, symmetric about FCOS's outputs.
            0 sets the new layers to zero, where components stay equal.
        **kwargs: See mmdet's ``FCOSHead``.

    Raises:
        ValueError: If the last convolutions are deformable, the classes are
            no sigmoids, or an argument is not as above.
    """

    # no factor of the stride in eval mode, which FCOS has
    same_outputs_in_eval = True

    def __init__(self,
                 *args,
                 box_components: int = 4,
                 cls_components: int = 4,
                 variance: str = 'softplus',
                 loss_nll: dict = dict(  # noqa: B006
                     type='mmal.MixtureNLLLoss'),
                 spread: float = 0.25,
                 **kwargs) -> None:
        if not isinstance(spread, (int, float)) or not 0 <= spread < math.inf:
            raise ValueError(
                f'bbox_head.spread is {spread!r}: give a number >= 0.')
        # mmdet's constructor makes the layers, which need these
        self._components = (cls_components, box_components, variance)
        self.spread = spread
        super().__init__(*args, **kwargs)
        self.loss_nll = MODELS.build(loss_nll)
        if not isinstance(self.loss_nll, BOX_MIXTURE_LOSSES):
            raise ValueError(
                f'bbox_head.loss_nll is {type(self.loss_nll).__name__}, which '
                "takes no mixtures: set its type to 'mmal.MixtureNLLLoss' or "
                "'mmal.MixtureEnergyLoss', or leave loss_nll out.")
        if not self.use_sigmoid_cls or getattr(
                self.loss_cls, 'custom_cls_channels', False):
            raise ValueError(
                f'bbox_head.loss_cls is {type(self.loss_cls).__name__} of a '
                f'softmax, but the classes of {type(self).__name__} are '
                "sigmoids: use dict(type='FocalLoss', use_sigmoid=True).")

    def _init_layers(self) -> None:
        if self.dcn_on_last_conv:
            raise ValueError(
                'bbox_head.dcn_on_last_conv is True, which '
                f'{type(self).__name__} does not take: set it to False.')
        components, box_components, variance = self._components
        self.cls_output = SigmoidOutput(self.num_classes, components)
        self.box_output = DistanceOutput(box_components, variance)
        super()._init_layers()
        for output in (self.cls_output, self.box_output):
            for name, channels in output.extras.items():
                self.add_module(
                    name,
                    nn.Conv2d(self.feat_channels, channels, 3, padding=1))
        # before weights of FCOS may come, which skip init_weights
        self.init_component_layers()

    def init_weights(self) -> None:
        """FCOS's own, and components that are close but not equal."""
        done = self.is_init  # a second call leaves weights as they are
        super().init_weights()
        if not done:
            self.init_component_layers()

    @torch.no_grad()
    def init_component_layers(self) -> None:
        """Draw the weights of the layers that FCOS lacks.

        Small ones, so that the head starts close to FCOS; biases that are
        ``spread`` apart, since components that are equal have equal gradients
        and would stay so.
        """
        for output in (self.cls_output, self.box_output):
            for name in output.extras:
                conv = getattr(self, name)
                conv.weight.normal_(std=0.01 * self.spread)
                conv.bias.zero_()
                if name.endswith('deltas'):
                    offsets = torch.linspace(-1, 1, output.components)
                    conv.bias += self.spread * offsets.repeat(
                        len(conv.bias) // output.components).to(conv.bias)

    def forward_single(self, x: Tensor, scale: nn.Module,
                       stride: int) -> tuple[Tensor, Tensor, Tensor]:
        """Raw outputs of a level, the same in training and eval mode.

        Args:
            x (Tensor): Features [B, feat_channels, H, W].
            scale (nn.Module): The level's factor of the distances.
            stride (int): Not used.

        Returns:
            tuple[Tensor]: Classes and distances in the layouts of
            ``cls_output`` and ``box_output``, centerness [B, 1, H, W].
        """
        # past FCOS's own, which multiplies distances in eval mode
        logits, sides, cls_feat, reg_feat = super(
            FCOSHead, self).forward_single(x)
        centerness = self.conv_centerness(
            reg_feat if self.centerness_on_reg else cls_feat)
        boxes = self._extras(self.box_output, reg_feat)
        # what FCOS scales are distances: those that components add, too, but
        # neither variances nor weights
        if 'conv_reg_deltas' in boxes:
            boxes['conv_reg_deltas'] = scale(boxes['conv_reg_deltas'])
        return (self.cls_output.pack(logits,
                                     self._extras(self.cls_output, cls_feat)),
                self.box_output.pack(scale(sides), boxes), centerness)

    def _extras(self, output, features: Tensor) -> dict[str, Tensor]:
        return {name: getattr(self, name)(features) for name in output.extras}

    def loss_by_feat(self,
                     cls_scores: list[Tensor],
                     bbox_preds: list[Tensor],
                     centernesses: list[Tensor],
                     batch_gt_instances: list[InstanceData],
                     batch_img_metas: list[dict],
                     batch_gt_instances_ignore=None) -> dict[str, Tensor]:
        """FCOS's losses, and the likelihood of the distances.

        Args:
            cls_scores (list[Tensor]): Raw class outputs of each level.
            bbox_preds (list[Tensor]): Raw distances of each level.
            centernesses (list[Tensor]): [B, 1, H, W] of each level.
            batch_gt_instances (list[InstanceData]): B sets of boxes.
            batch_img_metas (list[dict]): Not used.
            batch_gt_instances_ignore (list, optional): Not used.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox``,
            ``loss_centerness`` and, with ``box_components``, ``loss_nll``.
        """
        points = self.prior_generator.grid_priors(
            [level.shape[-2:] for level in cls_scores],
            dtype=bbox_preds[0].dtype,
            device=bbox_preds[0].device)
        labels, targets = (
            torch.cat(x) for x in self.get_targets(points, batch_gt_instances))
        # Numbers, not a mask, which would make a GPU wait at each use.
        positive = ((labels >= 0) &
                    (labels < self.num_classes)).nonzero().squeeze(1)
        num_pos = reduce_mean(labels.new_full(
            (), len(positive), dtype=torch.float32)).clamp(min=1.0)
        logits = self.cls_output.mixture(_rows(cls_scores)).logit
        # rows of all targets: level by level, each with all images
        points = torch.cat([p.repeat(len(batch_gt_instances), 1)
                            for p in points])
        return dict(
            loss_cls=self.loss_cls(logits, labels, avg_factor=num_pos),
            **self.positive_losses(
                _rows(bbox_preds)[positive],
                _rows(centernesses)[positive].squeeze(-1), targets[positive],
                points[positive], num_pos))

    def positive_losses(self, boxes: Tensor, centerness: Tensor,
                        targets: Tensor, points: Tensor,
                        num_pos: float) -> dict[str, Tensor]:
        """The losses that only the n positive points have.

        Args:
            boxes (Tensor): Raw distances [n, channels].
            centerness (Tensor): Its logit [n].
            targets (Tensor): Distances [n, 4] to the sides of the labels.
            points (Tensor): [n, 2].
            num_pos (Tensor): n, or its mean over processes, at least 1.

        Returns:
            dict[str, Tensor]: ``loss_bbox``, ``loss_centerness`` and, with
            ``box_components``, ``loss_nll``.
        """
        weight = self.centerness_target(targets)
        total = reduce_mean(weight.sum().detach()).clamp(min=1e-6)
        losses = dict(
            loss_bbox=self.loss_bbox(
                self.bbox_coder.decode(points, self.distances(boxes)),
                self.bbox_coder.decode(points, targets),
                weight=weight,
                avg_factor=total),
            loss_centerness=self.loss_centerness(
                centerness, weight, avg_factor=num_pos))
        mixture = self.box_output.mixture(boxes)
        if mixture is not None:
            # a density belongs to one space: that of the outputs
            if not self.norm_on_bbox:
                targets = targets.clamp(min=_TINY).log()
            losses['loss_nll'] = self.loss_nll(
                mixture,
                targets,
                weight[:, None],
                avg_factor=total * targets.size(-1))
        return losses

    def distances(self, boxes: Tensor) -> Tensor:
        """The distances that are predicted, in the unit of the targets.

        Args:
            boxes (Tensor): Raw outputs [n, channels].

        Returns:
            Tensor: [n, 4] >= 0, in strides with ``norm_on_bbox``, else in
            pixels.
        """
        mean = self.box_output.mean(boxes)
        if self.norm_on_bbox:
            return mean.clamp(0, _FAR)
        return mean.clamp(max=math.log(_FAR)).exp()

    def distance_std(self, boxes: GaussianMixture, raw: Tensor) -> Tensor:
        """Standard deviation of :meth:`distances`, by the delta method.

        The slope of the ReLU counts as 1 below 0 too: a side that is pressed
        to 0 is not certain. So does that of clipping at the image's border.

        Args:
            boxes (GaussianMixture): [n, K, 4], of ``raw``.
            raw (Tensor): Raw outputs [n, channels].

        Returns:
            Tensor: [n, 4], in the unit of the targets.
        """
        std = (boxes.aleatoric + boxes.epistemic).sqrt()
        return std if self.norm_on_bbox else std * self.distances(raw)

    def edge_mixture(self, boxes: GaussianMixture, points: Tensor,
                     units: Tensor) -> GaussianMixture:
        """Mixtures of the edges of boxes.

        Exact with ``norm_on_bbox``, but for the ReLU and the image's border,
        since edges are linear in the outputs; else by the delta method, for
        each component.

        Args:
            boxes (GaussianMixture): Of the outputs, [n, K, 4].
            points (Tensor): x and y of each location [n, 2] in pixels.
            units (Tensor): Pixels of a unit of :meth:`distances` [n, 1].

        Returns:
            GaussianMixture: [n, K, 4] of x1, y1, x2, y2 in pixels.
        """
        means, stds = boxes.means, boxes.variances.sqrt()
        if not self.norm_on_bbox:
            means = means.clamp(max=math.log(_FAR)).exp()
            stds = stds * means
        # left and top are towards 0
        side = means.new_tensor([-1, -1, 1, 1]) * units[:, None]
        return GaussianMixture(
            points.repeat(1, 2)[:, None] + side * means, (side * stds)**2,
            boxes.log_weights)

    def class_probabilities(self, cls_scores: list[Tensor],
                            bbox_preds: list[Tensor],
                            centernesses: list[Tensor]) -> Tensor:
        """The probabilities of all points, without centerness.

        Args:
            cls_scores (list[Tensor]): Raw class outputs of each level.
            bbox_preds (list[Tensor]): Not used.
            centernesses (list[Tensor]): Not used.

        Returns:
            Tensor: [B, P, num_classes] in [0, 1].
        """
        raw = flatten_levels(cls_scores, self.cls_output.channels)
        return self.cls_output.mixture(raw).probs

    def _predict_by_feat_single(self,
                                cls_score_list: list[Tensor],
                                bbox_pred_list: list[Tensor],
                                score_factor_list: list[Tensor],
                                mlvl_priors: list[Tensor],
                                img_meta: dict,
                                cfg,
                                rescale: bool = False,
                                with_nms: bool = True) -> InstanceData:
        """See mmdet's ``BaseDenseHead``; one image, each level [C, H, W]."""
        cfg = copy.deepcopy(self.test_cfg if cfg is None else cfg)
        results = InstanceData.cat([
            self._candidates(*level, cfg)
            for level in zip(cls_score_list, bbox_pred_list, score_factor_list,
                             mlvl_priors, self.strides)
        ])
        results.bboxes = self.bbox_coder.decode(
            results.priors,
            self.distances(results.raw_boxes) * results.units,
            max_shape=img_meta['img_shape'])
        results = self._bbox_post_process(
            results=results,
            cfg=cfg,
            rescale=rescale,
            with_nms=with_nms,
            img_meta=img_meta)
        # of what is left after NMS alone: few of thousands of points
        classes = self.cls_output.mixture(results.pop('raw_classes'))
        raw, units = results.pop('raw_boxes'), results.pop('units')
        points = results.pop('priors')
        boxes = self.box_output.mixture(raw)
        results.class_probs = classes.probs
        fields = uncertainty_fields(
            boxes, classes if self.cls_output.components else None,
            results.labels)
        if boxes is not None:
            std = self.distance_std(boxes, raw) * units
            if rescale:
                std = std / std.new_tensor(img_meta['scale_factor']).repeat(2)
            fields['box_std'] = std
            if cfg.get('box_mixture'):
                fields.update(mixture_fields(
                    self.edge_mixture(boxes, points, units), img_meta,
                    rescale))
        for name, value in fields.items():
            results.set_field(value, name)
        return results

    def _candidates(self, classes: Tensor, boxes: Tensor, centerness: Tensor,
                    priors: Tensor, stride: int, cfg) -> InstanceData:
        """What one level of an image has above the score threshold."""
        classes, boxes = classes.flatten(1).T, boxes.flatten(1).T
        # a sigmoid's last bit depends on the order in memory: as in FCOS
        logits = self.cls_output.mixture(classes).logit.T.contiguous()
        # the defaults are those of mmdet
        scores, labels, kept, _ = filter_scores_and_topk(
            logits.sigmoid().T, cfg.get('score_thr', 0),
            cfg.get('nms_pre', -1))
        unit = stride if self.norm_on_bbox else 1
        return InstanceData(
            scores=scores,
            labels=labels,
            score_factors=centerness.flatten().sigmoid()[kept],
            priors=priors[kept],
            raw_classes=classes[kept],
            raw_boxes=boxes[kept],
            units=scores.new_full((len(kept), 1), unit))


def _rows(levels: list[Tensor]) -> Tensor:
    """[N, channels] of all levels and images, in the order of the targets."""
    return torch.cat(
        [x.permute(0, 2, 3, 1).reshape(-1, x.size(1)) for x in levels])

"""RetinaNet whose class probabilities are the mean of a Dirichlet."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import RetinaHead
from torch import Tensor, nn

from mmal.recorder import ModuleCall, Recorder
from mmal.registry import MODELS
from mmal.uncertainty import at_least_float32
from ..layers.log_odds import softmax_log_odds
from ..utils import flatten_levels

# What the focal loss of RetinaNet starts with as the probability of a class.
_PRIOR = 0.01


@MODELS.register_module()
class EvidentialRetinaHead(RetinaHead):
    r"""RetinaNet with a softmax and a model evidence head (MEH).

    Park et al., "Active Learning for Object Detection with Evidential Deep
    Learning and Hierarchical Uncertainty Aggregation", ICLR 2023, as far as
    the code that its authors published tells. The classes of an anchor have
    a Dirichlet distribution :math:`\alpha = \lambda p`. Its mean p is a
    softmax, which the focal loss gets as log p - log(1 - p). Its total
    evidence :math:`\lambda` is larger the smaller a loss the MEH expects:
    convolutions beside those of classes and boxes predict the class loss of
    each anchor, and learn from the anchors that are matched with an object
    (``loss_evidence``). They read the feature maps without a gradient, so
    detector and losses are those without them.

    ``forward`` returns what that of mmdet's ``RetinaHead`` does, with sigmoid
    logits for the classes, so prediction and all that reads RetinaNet take
    them. The MEH never runs for a prediction; :meth:`predicted_losses` asks
    it, for :class:`mmal.scoring.HierarchicalUncertaintyScorer`.

    Unlike the published code the predicted loss is a softplus, not a ReLU,
    whose zeros would be anchors of infinite evidence that learn nothing.

    Args:
        num_classes (int): K, without the background.
        *args: See mmdet's ``RetinaHead``.
        background (bool): Whether the softmax has the background as one more
            class. The published code has none: where nothing is each of K
            classes has 1 / K, above ``score_thr`` for few classes.
        evidence_convs (int, optional): Convolutions of the MEH before its
            last; as many as ``stacked_convs`` by default.
        loss_evidence (dict): See :class:`mmal.models.EvidenceLoss`.
        **kwargs: See mmdet's ``RetinaHead``.

    Raises:
        ValueError: If the class loss is none of sigmoids, or there is a
            single class without a background.
    """

    def __init__(self,
                 num_classes: int,
                 *args,
                 background: bool = True,
                 evidence_convs: Optional[int] = None,
                 loss_evidence: dict = dict(  # noqa: B006
                     type='mmal.EvidenceLoss'),
                 **kwargs) -> None:
        if num_classes == 1 and not background:
            raise ValueError(
                'bbox_head.num_classes is 1 and bbox_head.background False: '
                'the only class of a softmax has the probability 1 '
                'everywhere. Set background=True.')
        # mmdet's constructor makes the layers, which need these
        self.background = background
        self._evidence_convs = evidence_convs
        super().__init__(num_classes, *args, **kwargs)
        self.loss_evidence = MODELS.build(loss_evidence)
        if not self.use_sigmoid_cls or getattr(
                self.loss_cls, 'custom_cls_channels', False):
            raise ValueError(
                f'bbox_head.loss_cls is a {type(self.loss_cls).__name__} of a '
                f'softmax, but {type(self).__name__} makes outputs for '
                "sigmoids: use dict(type='FocalLoss', use_sigmoid=True).")

    def _init_layers(self) -> None:
        super()._init_layers()
        if self.background:
            self.retina_cls = nn.Conv2d(
                self.retina_cls.in_channels,
                self.num_base_priors * (self.num_classes + 1),
                3,
                padding=1)
        number = self.stacked_convs if self._evidence_convs is None \
            else self._evidence_convs
        channels = [self.in_channels] + [self.feat_channels] * number
        self.evidence_convs = nn.ModuleList(
            ConvModule(
                a, b, 3, padding=1, conv_cfg=self.conv_cfg,
                norm_cfg=self.norm_cfg)
            for a, b in zip(channels, channels[1:]))
        self.retina_evidence = nn.Conv2d(
            channels[-1], self.num_base_priors, 3, padding=1)

    def init_weights(self) -> None:
        """RetinaNet's, and each class as improbable as RetinaNet's."""
        done = self.is_init  # a second call leaves weights as they are
        super().init_weights()
        if self.background and not done:
            # of many classes less, so that the background has half at least
            prior = min(_PRIOR, 0.5 / self.num_classes)
            odds = (1 - self.num_classes * prior) / prior
            bias = self.retina_cls.bias.data.view(self.num_base_priors, -1)
            bias[:, :-1] = 0
            bias[:, -1] = math.log(odds)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One level.

        Args:
            x (Tensor): [B, in_channels, H, W].

        Returns:
            tuple[Tensor, Tensor]: Log odds of the classes [B, A * K, H, W],
            without the background, and deltas of the boxes [B, A * 4, H, W].
        """
        logits, bbox_pred = super().forward_single(x)
        # classes last, in mmdet's order of the channels
        logits = logits.unflatten(1, (self.num_base_priors, -1)).movedim(2, -1)
        log_odds = softmax_log_odds(logits)[..., :self.num_classes]
        return log_odds.movedim(-1, 2).flatten(1, 2), bbox_pred

    def predicted_losses(self, feats: Sequence[Tensor]) -> list[Tensor]:
        """What the model evidence head expects of each anchor's class loss.

        Args:
            feats (sequence[Tensor]): What ``forward`` takes; no gradient
                reaches them.

        Returns:
            list[Tensor]: [B, A, H, W] of each level, above 0.
        """
        levels = []
        for x in feats:
            x = x.detach()
            for conv in self.evidence_convs:
                x = conv(x)
            levels.append(F.softplus(self.retina_evidence(x)))
        return levels

    def class_probabilities(self, cls_scores: Sequence[Tensor],
                            *others) -> Tensor:
        """The mean of each anchor's Dirichlet.

        Args:
            cls_scores (sequence[Tensor]): Of ``forward``.
            *others: Whatever else it returns.

        Returns:
            Tensor: [B, P, C], float32 or better; C is ``num_classes``, or
            one more with the background, which is the last.
        """
        log_odds = flatten_levels(cls_scores, self.num_classes)
        probs = at_least_float32(log_odds).sigmoid()
        if not self.background:
            return probs
        rest = 1 - probs.sum(-1, keepdim=True)
        return torch.cat([probs, rest.clamp(min=0)], -1)

    def loss(self, x: Sequence[Tensor], batch_data_samples: Sequence) -> dict:
        """Those of RetinaNet; in training mode ``loss_evidence`` too.

        Args:
            x (sequence[Tensor]): What ``forward`` takes.
            batch_data_samples (sequence[DetDataSample]): Labelled images.

        Returns:
            dict[str, list[Tensor]]: A term of each level.
        """
        if not self.training:
            return super().loss(x, batch_data_samples)
        with Recorder({'loss_cls': self.loss_cls}) as recorder:
            losses = super().loss(x, batch_data_samples)
        return dict(
            losses,
            loss_evidence=[
                self._evidence_loss(level, call) for level, call in zip(
                    self.predicted_losses(x), recorder.calls)
            ])

    def _evidence_loss(self, predicted: Tensor, call: ModuleCall) -> Tensor:
        """Of one level, from what RetinaNet asked ``loss_cls`` for."""
        cls_score, labels, *_ = call.args
        with torch.no_grad():
            loss = self.loss_cls(
                cls_score, labels, reduction_override='none').sum(-1)
        return self.loss_evidence(
            flatten_levels([predicted], 1).flatten(), loss,
            (labels >= 0) & (labels < self.num_classes),
            call.kwargs['avg_factor'])

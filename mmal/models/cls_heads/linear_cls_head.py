"""The last layer of an image classifier."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmal.registry import MODELS

_LOSS = dict(type='mmdet.CrossEntropyLoss')
_INIT = dict(type='Normal', layer='Conv2d', std=0.01)


@MODELS.register_module()
class LinearClsHead(BaseModule):
    """Global average pooling and a linear layer.

    The linear layer ``fc`` is a 1 x 1 convolution of the pooled map, so that
    what reads or changes the last layer of a detector does so here.

    Args:
        num_classes (int): C >= 2.
        in_channels (int): D of the backbone's last map.
        loss_cls (dict): Config of a loss of mmdet or of this package that can
            be unreduced: a softmax's (CrossEntropyLoss) or one of sigmoids
            (CrossEntropyLoss with ``use_sigmoid``, FocalLoss,
            mmal.AnchorLoss), which is summed over the classes.
        init_cfg (dict | list, optional): As any mmengine module's.

    Raises:
        ValueError: If there are fewer than two classes.

    Example:
        >>> import torch
        >>> head = LinearClsHead(num_classes=10, in_channels=4)
        >>> head([torch.zeros(2, 4, 8, 8)]).shape
        torch.Size([2, 10])
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 loss_cls: dict = _LOSS,
                 init_cfg: Optional[Union[dict, list]] = _INIT) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_classes < 2:
            raise ValueError(f'model.cls_head.num_classes is {num_classes}: '
                             'a classifier needs at least 2.')
        self.num_classes = num_classes
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(in_channels, num_classes, 1)
        self.loss_cls = MODELS.build(dict(loss_cls))

    @property
    def use_sigmoid(self) -> bool:
        """Whether each class has a probability of its own."""
        return bool(getattr(self.loss_cls, 'use_sigmoid', False))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits.

        Args:
            feats (sequence[Tensor]): Maps of the backbone; the last one,
                [B, D, H, W], counts.

        Returns:
            Tensor: [B, C].
        """
        return self.fc(self.pool(feats[-1])).flatten(1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """[B, C] of logits [B, C]; they sum to 1 where the loss is that of a
        softmax."""
        return logits.sigmoid() if self.use_sigmoid else logits.softmax(1)

    def loss(self, feats: Sequence[Tensor], labels: Tensor) -> dict:
        """The mean loss of the images.

        Args:
            feats (sequence[Tensor]): See :meth:`forward`.
            labels (Tensor): int64 [B], in [0, C).

        Returns:
            dict[str, Tensor]: ``loss_cls``, a scalar.
        """
        return self.loss_by_feat(self(feats), labels)

    def loss_by_feat(self, logits: Tensor, labels: Tensor) -> dict:
        """:meth:`loss` of logits [B, C]."""
        # by images: losses of sigmoids would be divided by images * classes
        loss = self.loss_cls(logits, labels, avg_factor=len(labels))
        return dict(loss_cls=loss)

    def image_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each image as if it were alone in its batch.

        Args:
            logits (Tensor): [B, C].
            labels (Tensor): int64 [B], in [0, C).

        Returns:
            Tensor: [B]; their mean is ``loss_cls``.
        """
        losses = self.loss_cls(logits, labels, reduction_override='none')
        # a softmax has one loss for an image, sigmoids have one a class
        return losses.flatten(1).sum(1) if losses.dim() > 1 else losses

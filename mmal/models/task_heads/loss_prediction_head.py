"""Predicting the loss of an image from feature maps."""
from collections.abc import Sequence
from typing import Optional, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmal.registry import MODELS


@MODELS.register_module()
class LossPredictionHead(BaseModule):
    """The loss prediction module of LLAL.

    Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, section 3.2:
    global average pooling of every feature map, a linear layer and ReLU for
    each, and one linear layer over all of them joined.

    The predictions have no unit and no scale; they are trained to have the
    order of the losses.

    Args:
        in_channels (sequence[int]): Channels of each feature map.
        hidden (int): Width of each map's linear layer.
        loss (dict, optional): Config of the loss; by default
            ``mmal.PairwiseRankingLoss`` with margin 1 and weight 1.
        detach (bool | int): Whether the gradient of the loss stops before the
            feature maps. True: always, so that the detector learns as it does
            alone; ISAL (Liu et al., ICCV 2021, supplement) found detectors to
            suffer otherwise. False: never. A number n: after the first n
            training iterations, as LLAL does with the last part of a
            training; the count is in the state dict as ``iterations``.
        init_cfg (dict | list, optional): As any mmengine module's; None
            leaves the weights as torch draws them.

    Raises:
        ValueError: If ``in_channels`` is empty or no sequence of sizes, or
            ``detach`` is negative or no integer.

    Example:
        >>> import torch
        >>> from mmal.models import LossPredictionHead
        >>> head = LossPredictionHead(in_channels=[8, 16])
        >>> head([torch.ones(2, 8, 6, 4), torch.ones(2, 16, 3, 2)]).shape
        torch.Size([2])
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 hidden: int = 128,
                 loss: Optional[dict] = None,
                 detach: Union[bool, int] = True,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        sizes = list(in_channels) if isinstance(
            in_channels, (list, tuple)) else []
        if not sizes or not all(isinstance(c, int) and c > 0 for c in sizes):
            raise ValueError(
                f'model.loss_head.in_channels is {in_channels!r}: give the '
                'channels of each feature map, e.g. [256, 256, 256, 256, '
                '256].')
        if not isinstance(detach, int) or detach < 0:  # a bool is one
            raise ValueError(
                f'model.loss_head.detach is {detach!r}: give True (always), '
                'False (never), or the number of training iterations, at '
                'least 0, after which the gradient stops.')
        self.in_channels = sizes
        self.branches = nn.ModuleList(
            nn.Linear(c, hidden) for c in self.in_channels)
        self.fc = nn.Linear(hidden * len(self.in_channels), 1)
        loss = dict(type='mmal.PairwiseRankingLoss') if loss is None else loss
        self.loss_rank = MODELS.build(loss)
        self.detach = detach
        # a buffer: a training that is resumed goes on counting
        self.register_buffer('iterations', torch.zeros((), dtype=torch.long))

    # One number of each image, which is the score: rounded, it would be that
    # of many images.
    full_precision = True

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Predict losses.

        Args:
            features (sequence[Tensor]): [B, C_i, H_i, W_i] with the C_i of
                ``in_channels``.

        Returns:
            Tensor: [B].

        Raises:
            ValueError: If number or channels of the maps are others.
        """
        channels = [x.shape[1] for x in features]
        if channels != self.in_channels:
            raise ValueError(
                f'model.loss_head.in_channels is {self.in_channels}, but the '
                f'feature maps have {channels} channels: set it to those, or '
                'choose other maps by model.features.')
        hidden = [
            branch(x.mean((-2, -1))).relu()
            for branch, x in zip(self.branches, features)
        ]
        return self.fc(torch.cat(hidden, dim=1)).squeeze(1)

    def loss(self, features: Sequence[Tensor],
             losses: Tensor) -> dict[str, Tensor]:
        """The loss of the predictions; counts an iteration in training mode.

        Args:
            features (sequence[Tensor]): See :meth:`forward`.
            losses (Tensor): [B], what is to be predicted.

        Returns:
            dict[str, Tensor]: ``loss_rank``, 0 for a batch of one image.
        """
        # True and False are integers too, but do not count iterations
        detached = self.detach if isinstance(self.detach, bool) else \
            int(self.iterations) >= self.detach
        if detached:
            features = [x.detach() for x in features]
        if self.training:
            self.iterations += 1
        return dict(loss_rank=self.loss_rank(self(features), losses))

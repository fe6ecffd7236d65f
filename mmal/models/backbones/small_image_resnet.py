"""ResNet for images of 32 x 32 pixels."""
from __future__ import annotations

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.models.backbones import ResNet
from torch import nn

from mmal.registry import MODELS


@MODELS.register_module()
class SmallImageResNet(ResNet):
    """mmdet's ResNet that begins with a 3 x 3 convolution of stride 1.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as
    it is used with CIFAR and SVHN: without the stem's two reductions the last
    map of a 32 x 32 image has 4 x 4 positions, not one. Batch norm is trained
    unless ``norm_eval`` is set.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        norm_eval (bool): See mmdet's ``ResNet``, where it is True.
        **kwargs: Of mmdet's ``ResNet``; ``base_channels`` (64) is the width
            of the first stage. ``deep_stem`` is of no use here.

    Raises:
        ValueError: If ``deep_stem`` is set.

    Example:
        >>> import torch
        >>> net = SmallImageResNet(18, base_channels=8)
        >>> [tuple(x.shape[1:]) for x in net(torch.zeros(1, 3, 32, 32))]
        [(8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 4, 4)]
    """

    def __init__(self, depth: int, norm_eval: bool = False, **kwargs) -> None:
        if kwargs.get('deep_stem'):
            raise ValueError('model.backbone.deep_stem is True, but a '
                             'SmallImageResNet has a stem of its own: leave '
                             'it out.')
        super().__init__(depth, norm_eval=norm_eval, **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        self.conv1 = build_conv_layer(
            self.conv_cfg,
            in_channels,
            stem_channels,
            kernel_size=3,
            padding=1,
            bias=False)
        self.norm1_name, norm = build_norm_layer(
            self.norm_cfg, stem_channels, postfix=1)
        self.add_module(self.norm1_name, norm)
        self.relu = nn.ReLU(inplace=True)
        # mmdet's forward calls it after the stem
        self.maxpool = nn.Identity()

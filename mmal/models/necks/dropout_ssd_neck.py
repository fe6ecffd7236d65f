"""SSD's extra layers with dropout, for MC-dropout."""
from __future__ import annotations

from collections import OrderedDict

from mmdet.models.necks import SSDNeck
from torch import nn

from mmal.registry import MODELS
from .options import check_dropout


@MODELS.register_module()
class DropoutSSDNeck(SSDNeck):
    """``SSDNeck`` with dropout after each convolution of its extra layers.

    The MC-dropout rival of "Deep Active Learning for Object Detection with
    Mixture Density Networks", section 4.2. Parameters have the names and
    shapes of ``SSDNeck``, so that its checkpoints load.

    Args:
        *args: See mmdet's ``SSDNeck``.
        dropout (float): Probability of a zero, in [0, 1).
        **kwargs: See mmdet's ``SSDNeck``.
    """

    def __init__(self, *args, dropout: float = 0.1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_dropout(dropout)
        for i, layer in enumerate(self.extra_layers):
            modules = OrderedDict()
            for name, conv in layer.named_children():
                modules[name] = conv  # by its old name: checkpoints load
                modules[f'dropout{name}'] = nn.Dropout(dropout)
            self.extra_layers[i] = nn.Sequential(modules)

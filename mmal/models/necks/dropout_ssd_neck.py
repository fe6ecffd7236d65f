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
        self.extra_layers = nn.ModuleList(
            _with_dropout(layer, dropout) for layer in self.extra_layers)


def _with_dropout(layer: nn.Sequential, p: float) -> nn.Sequential:
    """The convolutions keep their names."""
    modules = OrderedDict()
    for name, conv in layer.named_children():
        modules[name] = conv
        modules[f'dropout{name}'] = nn.Dropout(p)
    return nn.Sequential(modules)

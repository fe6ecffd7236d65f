"""SSD's extra layers with dropout, for MC-dropout."""
from __future__ import annotations

from collections import OrderedDict
from typing import Optional

from mmdet.models.necks import SSDNeck
from torch import nn

from mmal.registry import MODELS
from .options import check_dropout


@MODELS.register_module()
class DropoutSSDNeck(SSDNeck):
    """``SSDNeck`` with dropout after convolutions of its extra layers.

    The MC-dropout rival of "Deep Active Learning for Object Detection with
    Mixture Density Networks", section 4.2. Parameters have the names and
    shapes of ``SSDNeck``, so that its checkpoints load.

    Args:
        *args: See mmdet's ``SSDNeck``.
        dropout (float): Probability of a zero, in [0, 1).
        dropout_layers (int, optional): At most so many convolutions have
            one, the last ones; all by default. The paper counts six, while
            SSD300's extra layers are eight and SSD512's ten.
        **kwargs: See mmdet's ``SSDNeck``.
    """

    def __init__(self,
                 *args,
                 dropout: float = 0.1,
                 dropout_layers: Optional[int] = None,
                 **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_dropout(dropout)
        total = sum(len(layer) for layer in self.extra_layers)
        if dropout_layers is None:
            dropout_layers = total
        if dropout_layers < 1:
            raise ValueError(f'neck.dropout_layers is {dropout_layers}: give '
                             'at least 1, or leave it out for all.')
        before = max(total - dropout_layers, 0)
        for i, layer in enumerate(self.extra_layers):
            modules = OrderedDict()
            for name, conv in layer.named_children():
                modules[name] = conv  # by its old name: checkpoints load
                if before:
                    before -= 1
                else:
                    modules[f'dropout{name}'] = nn.Dropout(dropout)
            self.extra_layers[i] = nn.Sequential(modules)

"""A feature pyramid with dropout, for MC-dropout."""
from __future__ import annotations

from mmdet.models.necks import FPN
from torch import Tensor, nn

from mmal.registry import MODELS
from .options import check_dropout


@MODELS.register_module()
class DropoutFPN(FPN):
    """``FPN`` with dropout on each of its output maps.

    For the row "MC-Dropout" of "Scalable Active Learning for Object
    Detection", table I, which does not say where the detector's dropout is.
    Parameters have the names and shapes of ``FPN``, so that its checkpoints
    load.

    Args:
        *args: See mmdet's ``FPN``.
        dropout (float): Probability of a zero, in [0, 1).
        **kwargs: See mmdet's ``FPN``.
    """

    def __init__(self, *args, dropout: float = 0.1, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_dropout(dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See mmdet's ``FPN``."""
        return tuple(self.dropout(x) for x in super().forward(inputs))

"""mmdet's SSD head, able to predict."""
from __future__ import annotations

from mmdet.models.dense_heads import SSDHead as _SSDHead

from mmal.registry import MODELS
from ..utils.batch_losses import REDUCTIONS


@MODELS.register_module()
class SSDHead(_SSDHead):
    """mmdet's ``SSDHead`` with the one attribute its prediction misses.

    Since mmdet 3.1 ``predict_by_feat`` asks ``loss_cls`` for its activation,
    which ``SSDHead`` does not have: it trains, but validation ends in an
    AttributeError. Parameters, losses and arguments are mmdet's.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.loss_cls = None


# its losses are mmdet's, and so are their sums
REDUCTIONS[SSDHead] = REDUCTIONS[_SSDHead]

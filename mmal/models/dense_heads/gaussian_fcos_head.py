"""FCOS whose distances are Gaussians."""
from mmal.registry import MODELS
from .mdn_fcos_head import MDNFCOSHead


@MODELS.register_module()
class GaussianFCOSHead(MDNFCOSHead):
    """One Gaussian for each distance, and the classes of FCOS.

    :class:`MDNFCOSHead` with K = 1: beside the layers of FCOS it has one that
    gives the variances. All uncertainty fields are there; the epistemic ones
    are 0, and ``cls_aleatoric`` is p (1 - p).

    Args:
        *args: See :class:`MDNFCOSHead`.
        **kwargs: See :class:`MDNFCOSHead`, without the numbers of components.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, box_components=1, cls_components=1, **kwargs)

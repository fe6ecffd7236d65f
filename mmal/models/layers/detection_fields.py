"""What a probabilistic head knows of a detection."""
from __future__ import annotations

from typing import Optional, Union

from torch import Tensor

from .class_mixture import ClassMixture
from .gaussian_mixture import GaussianMixture
from .sigmoid_mixture import SigmoidMixture


def uncertainty_fields(boxes: Optional[GaussianMixture],
                       classes: Optional[Union[ClassMixture, SigmoidMixture]],
                       labels: Tensor) -> dict[str, Tensor]:
    """The uncertainties of n detections (eq. 1 and 8 of MDN).

    Args:
        boxes (GaussianMixture, optional): [n, K, 4] of the deltas.
        classes (ClassMixture | SigmoidMixture, optional): [n, K, C].
        labels (Tensor): int64 [n], the predicted classes.

    Returns:
        dict[str, Tensor]: ``box_aleatoric`` and ``box_epistemic`` [n, 4],
        ``cls_aleatoric`` and ``cls_epistemic`` [n] of the predicted class;
        without those of a side that is None.
    """
    fields = {}
    if boxes is not None:
        fields['box_aleatoric'] = boxes.aleatoric
        fields['box_epistemic'] = boxes.epistemic
    if classes is not None:
        own = labels[:, None]
        fields['cls_aleatoric'] = classes.aleatoric.gather(1, own)[:, 0]
        fields['cls_epistemic'] = classes.epistemic.gather(1, own)[:, 0]
    return fields

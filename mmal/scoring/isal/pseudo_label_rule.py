"""What stands for the labels of an unlabelled image."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PseudoLabelRule:
    """What to expect of an image that nobody has labelled.

    Args:
        score_thr (float): Detections with at least this score count.
        top_k (int): So many of the most probable classes of a classified
            image count, each as much as it is probable; at least 1.

    Raises:
        ValueError: If ``top_k`` is below 1.
    """
    score_thr: float = 0.1
    top_k: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.top_k, int) or self.top_k < 1:
            raise ValueError(f'active_learning.scorer.top_k is '
                             f'{self.top_k!r}: give a number of classes, at '
                             'least 1.')

"""With what each class of an image is confused, as an embedding."""
from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch
from mmal.scoring.detector import final_head
from mmal.scoring.embeddings.base import BaseEmbedder, Extractor
from mmal.scoring.options import check_score_thr
from mmal.uncertainty import categorical_entropy
from .describe import check_described, describe, normalised
from .predict import confident, padded

_KEY = 'active_learning.embedder'


@TASK_UTILS.register_module()
class ClassDistributionEmbedder(BaseEmbedder):
    r"""For each class, the mean class distribution of its detections.

    Agarwal et al., "Contextual Diversity for Active Learning", ECCV 2020. The
    distribution of class c in an image is

    .. math:: P^c = \sum_r w_r p_r / \sum_r w_r

    over the detections r that the detector takes for c, with their class
    distributions p and the entropies w of these as weights: those that are
    confused with something tell of the context. ``mmal.ContextualDiversity``
    compares images by these.

    With a softmax head, p is that of classes and background. The paper knows
    no other heads; of a sigmoid head the probabilities are divided by their
    sum.

    Cost: one forward pass, and that of NMS.

    Args:
        score_thr (float): Detections with at least this score count. The
            paper names no threshold.

    Raises:
        ValueError: If it is no score.
    """

    embeds = 'class distributions'

    def __init__(self, score_thr: float = 0.05) -> None:
        check_score_thr(score_thr, _KEY)
        self.score_thr = score_thr

    def check(self, model: nn.Module) -> None:
        """See :meth:`BaseEmbedder.check`."""
        check_described(model, _KEY)

    def attach(self, model: nn.Module) -> ClassDistributionExtractor:
        """See :meth:`BaseEmbedder.attach`."""
        return ClassDistributionExtractor(model, self.score_thr)


class ClassDistributionExtractor(Extractor):
    """Describes the detections of one batch after another.

    Args:
        model (nn.Module): The detector in eval mode.
        score_thr (float): See :class:`ClassDistributionEmbedder`.
    """

    def __init__(self, model: nn.Module, score_thr: float) -> None:
        self._model = model
        self._score_thr = score_thr
        self._batch: Optional[Batch] = None

    def __exit__(self, *exc) -> None:
        self._batch = None

    def set_batch(self, batch: Batch) -> None:
        """See :meth:`Extractor.set_batch`."""
        self._batch = batch

    def embedding(self) -> Tensor:
        """float32 [B, C P]: for each of C classes a distribution of P numbers
        that add up to 1, or zeros where nothing is taken for the class."""
        detections = describe(self._model, self._batch)
        keep = confident(detections, self._score_thr)
        return class_distributions(
            padded(detections, 'class_probs'),
            padded(detections, 'labels', 0).long(), keep,
            final_head(self._model).num_classes).flatten(1)


def class_distributions(probs: Tensor, labels: Tensor, keep: Tensor,
                        num_classes: int) -> Tensor:
    """Entropy-weighted mean distribution of the detections of each class.

    Args:
        probs (Tensor): [B, n, P], of the classes and perhaps the background;
            rows are divided by their sums.
        labels (Tensor): int64 [B, n] in [0, num_classes).
        keep (Tensor): bool [B, n], which detections count.
        num_classes (int): C.

    Returns:
        Tensor: float32 [B, C, P]; rows add up to 1, or are 0 where a class
        has no detection.
    """
    probs = normalised(probs)
    # Detections that are all certain have entropies of 0, and count the same.
    weights = (categorical_entropy(probs) + 1e-12) * keep
    table = weights[:, None] * (
        labels[:, None] == torch.arange(num_classes, device=labels.device)[
            :, None])
    total = table.sum(-1, keepdim=True)
    return (table @ probs / total.clamp(
        min=torch.finfo(total.dtype).tiny)).float()

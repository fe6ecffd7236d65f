"""The base class of scorers."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Optional

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from .batch import Batch
    from .data import ScoringData


class BaseScorer(metaclass=ABCMeta):
    """Gives every unlabelled image one number: higher, label it first.

    The loop :func:`mmal.scoring.score_pool` calls :meth:`prepare` once, then
    :meth:`process` for each batch, gathers the rows of all processes and
    calls :meth:`compute` once over the whole pool. A subclass writes
    :meth:`process`, and :meth:`compute` where an image's score depends on
    the others (z-scores).

    Class attributes tell the loop what a scorer needs:

    - ``needs_images``: False if it scores without looking (random).
    - ``needs_labels``: it reads annotated images in :meth:`prepare`.
    - ``needs_committee``: it compares several opinions.
    - ``uses_committee``: it takes several opinions where there are some.
    - ``gives_class_scores``: :meth:`process` returns ``class_scores`` rows,
      a value of each class, higher = label it first; ``-inf`` for nothing.
    - ``gives_class_weights``: it keeps ``class_weights`` and
      ``weighted_entropy`` of PAL, see ``mmal.LogisticUncertaintyScorer``.
    - ``may_be_negative``: its scores are of no use as weights.
    - ``needs_embeddings``: :meth:`process` returns ``embedding`` rows.
    - ``embeds``: what these are of, where not of whole images: 'detections'
      (:func:`mmal.selection.pack_detections`); selectors that read such rows
      ask for them.
    - ``gives_columns``: names of columns [N] with values of their own,
      higher = label it first; None if only a run shows which there are.
    - ``gives_gradients``: the embeddings are gradients of the images' losses,
      and a score is the inner product, in the same metric, of an image's
      gradient with that of the loss to be lowered.

    A scorer that detects on its way returns ``class_boxes`` rows [B, C], see
    :func:`mmal.scoring.detector.class_boxes`: their sums over the pool are
    shown to people and choose nothing.
    """

    needs_images: bool = True
    needs_labels: bool = False
    needs_committee: bool = False
    uses_committee: bool = False
    gives_class_scores: bool = False
    gives_class_weights: bool = False
    may_be_negative: bool = False
    needs_embeddings: bool = False
    embeds: Optional[str] = None
    gives_columns: Optional[tuple[str, ...]] = None
    gives_gradients: bool = False

    def check(self, model: nn.Module, data: ScoringData) -> None:  # noqa: B027
        """Find mistakes in the settings before any training.

        Args:
            model (nn.Module): The detector, with any weights.
            data (ScoringData): The images; none are read.

        Raises:
            ValueError: If the scorer cannot work with this model or data.
        """

    def prepare(self, model: nn.Module,  # noqa: B027
                data: ScoringData) -> None:
        """Compute once what all images share, e.g. s_test.

        Args:
            model (nn.Module): The trained detector in eval mode.
            data (ScoringData): The images it may read.
        """

    @abstractmethod
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch with one forward pass.

        Args:
            model (nn.Module): The trained detector in eval mode.
            batch (Batch): B images of one shape, on the model's device.

        Returns:
            dict[str, Tensor]: Columns of B rows each; ``score`` is the score
            unless :meth:`compute` is overridden.
        """

    def compute(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Turn the gathered columns of all N images into N scores.

        Args:
            columns (dict[str, np.ndarray]): The columns of :meth:`process`,
                N rows each, in the order of the pool file.

        Returns:
            np.ndarray: [N], higher = label it first.
        """
        return columns['score']

    def kept_columns(self,
                     columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What is kept beside the scores.

        Args:
            columns (dict[str, np.ndarray]): See :meth:`compute`.

        Returns:
            dict[str, np.ndarray]: All of them, from which scores can be
            computed again when images have come; and others, if need be.
        """
        return columns

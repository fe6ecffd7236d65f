"""The base class of committees."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, Protocol

from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from torch import Tensor, nn

from mmal.types import ImageId, Outputs


class BatchLike(Protocol):
    """What a committee reads of a batch; see :class:`mmal.scoring.Batch`."""
    ids: list[ImageId]
    inputs: Tensor
    samples: list


@dataclass
class Member:
    """One opinion on one batch, not computed yet.

    Args:
        model (nn.Module): The detector whose head reads its outputs.
        features (callable): Computes the features of backbone and neck.
    """
    model: nn.Module
    features: Callable[[], tuple[Tensor, ...]]

    def outputs(self) -> Outputs:
        """The raw outputs of a single-stage head, one pass of the member."""
        return self.model.bbox_head(self.features())


class BaseCommittee(metaclass=ABCMeta):
    """Several opinions of detectors on the same images.

    A scorer compares them; what it makes of them is not known here. The
    query calls :meth:`prepare` before the first batch and :meth:`release`
    after the last.

    Class attributes:

    - ``trained_members``: how many models a run must train in each round,
      besides the round's own.
    """

    trained_members: int = 0

    @property
    @abstractmethod
    def size(self) -> int:
        """How many opinions there are."""

    def check(self, model: nn.Module, in_run: bool = True) -> None:
        """Find mistakes in the settings before any training.

        Args:
            model (nn.Module): The detector, with any weights.
            in_run (bool): Whether a run will train members, or the committee
                must do without.

        Raises:
            ValueError: If this detector cannot give several opinions.
        """
        if not isinstance(model, (SingleStageDetector, TwoStageDetector)):
            raise ValueError(
                f'active_learning.committee: {type(model).__name__} is not a '
                'single-stage detector (SSD, RetinaNet, FCOS, …) nor a '
                'two-stage one (Faster R-CNN), whose outputs could be '
                'compared. Leave the committee out.')

    def prepare(self,  # noqa: B027
                model: nn.Module,
                seed: int = 0,
                round: int = 0,
                weights: Sequence[str] = ()) -> None:
        """Get ready for a query.

        Args:
            model (nn.Module): The trained detector.
            seed (int): The seed of the run.
            round (int): The round, from 0.
            weights (sequence[str]): Files of the members that the run has
                trained, as many as ``trained_members``.
        """

    def release(self) -> None:  # noqa: B027
        """Free what :meth:`prepare` has loaded."""

    def models(self) -> list[nn.Module]:
        """The models besides the round's own that :meth:`prepare` has
        loaded, in eval mode, each once."""
        return []

    @abstractmethod
    def members(self, model: nn.Module,
                batch: BatchLike) -> Iterator[Member]:
        """Each member in turn, ready for its pass.

        A member may be used until the next is asked for. Gradients are
        recorded unless the caller switches them off.

        Args:
            model (nn.Module): The trained detector in eval mode.
            batch (BatchLike): B images on the model's device.

        Yields:
            Member: ``size`` times.
        """

    def outputs(self, model: nn.Module,
                batch: BatchLike) -> Iterator[Outputs]:
        """The raw head outputs of each member in turn.

        Args:
            model (nn.Module): The trained single-stage detector in eval
                mode.
            batch (BatchLike): B images on the model's device.

        Yields:
            tuple[list[Tensor]]: What ``bbox_head.forward`` returns in eval
            mode; ``size`` times.
        """
        for member in self.members(model, batch):
            yield member.outputs()

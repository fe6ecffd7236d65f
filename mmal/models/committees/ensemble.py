"""Several trainings of the same detector."""
from __future__ import annotations

import copy
import os.path as osp
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

from torch import nn

from mmal.compat.checkpoints import load_checkpoint
from mmal.registry import TASK_UTILS
from .base import BaseCommittee, Outputs

if TYPE_CHECKING:
    from mmal.scoring.data import Batch


@TASK_UTILS.register_module()
class EnsembleCommittee(BaseCommittee):
    """M detectors trained with different seeds on the same images.

    Member 0 is the round's own model. Before it a run trains the others
    without validation, so early stopping or a schedule that reacts to
    metrics has no effect on them. They start from the same pretrained
    weights, if the config names any.

    Memory during a query: M - 1 copies of the detector's parameters and
    buffers on its device, 4 bytes each: 105 MB a member for SSD300 with
    26.3 million. Their forward passes run one after another, so activations
    need no more than one detector's. On disk the same amount is kept in every
    round with a query.

    Args:
        size (int, optional): M, at least 2, the round's own model included.
        checkpoints (sequence[str], optional): For a single query: the
            checkpoints of members 1 to M - 1, trained elsewhere. Averaged
            weights (EMAHook) are used where a checkpoint holds them.

    Raises:
        ValueError: If neither is given, or they contradict each other.
    """

    def __init__(self,
                 size: Optional[int] = None,
                 checkpoints: Optional[Sequence[str]] = None) -> None:
        if checkpoints is not None:
            checkpoints = list(checkpoints)
            size = 1 + len(checkpoints) if size is None else size
        _check_size(size, checkpoints)
        self.checkpoints = checkpoints
        self.trained_members = 0 if checkpoints else size - 1
        self._size = size
        self._members: list[nn.Module] = []

    @property
    def size(self) -> int:
        """M, the round's own model included."""
        return self._size

    def check(self, model: nn.Module, in_run: bool = True) -> None:
        """Members come from the run, or from checkpoints without one.

        Raises:
            FileNotFoundError, ValueError: Naming the key.
        """
        super().check(model, in_run)
        key = 'active_learning.committee'
        if in_run and self.checkpoints:
            raise ValueError(
                f'{key}.checkpoints are for a single query: a run trains its '
                f'own members in every round. Give {key}.size.')
        if not in_run and not self.checkpoints:
            raise ValueError(
                f'{key}.size = {self.size} says how many members a run '
                'trains, but a single query trains none: give '
                f'{key}.checkpoints, those of the {self.size - 1} others.')
        for path in self.checkpoints or []:
            if not osp.isfile(path):
                raise FileNotFoundError(
                    f'{key}.checkpoints: there is no {path}.')

    def prepare(self,
                model: nn.Module,
                seed: int = 0,
                round: int = 0,
                weights: Sequence[str] = ()) -> None:
        """Load the members to the device of the model.

        Raises:
            CheckpointError, FileNotFoundError: If a file is unusable.
            ValueError: If it is of another detector.
        """
        files = self.checkpoints or list(weights)
        if len(files) != self.size - 1:
            raise ValueError(
                f'an ensemble of {self.size} needs the weights of '
                f'{self.size - 1} members besides the model, not '
                f'{len(files)}.')
        self._members = [_load(model, path) for path in files]

    def release(self) -> None:
        """Free the members."""
        self._members = []

    def outputs(self, model: nn.Module, batch: Batch) -> Iterator[Outputs]:
        """One forward pass of each member.

        Raises:
            RuntimeError: Before :meth:`prepare`.
        """
        if len(self._members) != self.size - 1:
            raise RuntimeError(
                'EnsembleCommittee has no members yet: call prepare first.')
        for member in (model, *self._members):
            yield member.bbox_head(member.extract_feat(batch.inputs))


def _check_size(size: Optional[int],
                checkpoints: Optional[Sequence[str]]) -> None:
    key = 'active_learning.committee'
    if size is None:
        raise ValueError(
            f'{key} is an ensemble without members: give size (a run trains '
            'them) or checkpoints (for a single query).')
    if not isinstance(size, int) or isinstance(size, bool) or size < 2:
        raise ValueError(f'{key} has {size!r} member(s), the model itself '
                         'included: give at least 2.')
    if checkpoints and size != 1 + len(checkpoints):
        raise ValueError(
            f'{key}.size is {size}, but {len(checkpoints)} checkpoints and '
            f'the model make {1 + len(checkpoints)}: leave size out.')


def _load(model: nn.Module, path: str) -> nn.Module:
    """A copy of a detector with other weights, in eval mode."""
    content = load_checkpoint(path, map_location='cpu')
    member = copy.deepcopy(model).eval()
    try:
        member.load_state_dict(content.get('state_dict', content))
    except RuntimeError as e:
        raise ValueError(
            f'{path} does not fit the detector of the config: {e}') from e
    return member

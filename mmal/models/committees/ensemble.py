"""Several trainings of a detector, or several detectors."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Optional

from torch import nn

from mmal.compat.checkpoints import check_exists
from mmal.registry import TASK_UTILS
from .base import BaseCommittee, BatchLike, Member
from .loading import MemberFile
from .preprocessing import renormalise

KEY = 'active_learning.committee'


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

    With ``stream`` the members stay in their files, and one copy of the
    detector, besides the round's own, takes each one's weights in turn: memory
    does not grow with M. (Members of a config of their own have a copy each in
    the host's memory, and one at a time on the device.) The cost: each batch
    reads the M - 1 files again, mostly from the operating system's cache, and
    moves them to the device; a larger ``score_dataloader.batch_size`` makes
    that rarer. The scores are the same.

    Args:
        size (int, optional): M, at least 2, the round's own model included.
        checkpoints (sequence[str], optional): For a single query: the
            checkpoints of members 1 to M - 1, trained elsewhere. Averaged
            weights (EMAHook) are used where a checkpoint holds them. Behind
            a path ``#sha256=`` and its 64 digits may stand.
        configs (sequence[str | None], optional): For a single query: the
            config of each checkpoint, None for that of the query. All see the
            images as the query's test pipeline resizes them, each normalised
            as its own config says. Classes, strides and the number of anchors
            must be the same.
        stream (bool): Whether members take turns in memory.

    Raises:
        ValueError: If neither size nor checkpoints are given, or arguments
            contradict each other.
    """

    def __init__(self,
                 size: Optional[int] = None,
                 checkpoints: Optional[Sequence[str]] = None,
                 configs: Optional[Sequence[Optional[str]]] = None,
                 stream: bool = False) -> None:
        if checkpoints is not None:
            checkpoints = list(checkpoints)
            size = 1 + len(checkpoints) if size is None else size
        if size is None:
            raise ValueError(
                f'{KEY} is an ensemble without members: give size (a run '
                'trains them) or checkpoints (for a single query).')
        if not isinstance(size, int) or isinstance(size, bool) or size < 2:
            raise ValueError(f'{KEY} has {size!r} member(s), the model itself '
                             'included: give at least 2.')
        given = len(checkpoints or [])
        if given and size != 1 + given:
            raise ValueError(
                f'{KEY}.size is {size}, but {given} checkpoints and the model '
                f'make {1 + given}: leave size out.')
        if configs is not None and len(configs) != given:
            raise ValueError(
                f'{KEY}.configs has {len(configs)} entries for {given} '
                'checkpoints: give one for each, None where it is the config '
                'of the query.')
        self.checkpoints = checkpoints
        self.configs = configs
        self.stream = stream
        self.trained_members = 0 if checkpoints else size - 1
        self._size = size
        self._members: list[MemberFile] = []

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
        if in_run and self.checkpoints:
            raise ValueError(
                f'{KEY}.checkpoints are for a single query: a run trains its '
                f'own members in every round. Give {KEY}.size.')
        if not in_run and not self.checkpoints:
            raise ValueError(
                f'{KEY}.size = {self.size} says how many members a run '
                'trains, but a single query trains none: give '
                f'{KEY}.checkpoints, those of the {self.size - 1} others.')
        for path in filter(None, self.configs or []):
            if not osp.isfile(path):
                raise FileNotFoundError(
                    f'{KEY}.configs: there is no {path}.')
        for path in self.checkpoints or []:
            try:
                check_exists(path)
            except FileNotFoundError as e:
                raise FileNotFoundError(f'{KEY}.checkpoints: {e}') from e
        for member in self._files(self.checkpoints or []):
            member.check(model)

    def prepare(self,
                model: nn.Module,
                seed: int = 0,
                round: int = 0,
                weights: Sequence[str] = ()) -> None:
        """Load the members to the device of the model, or try to.

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
        # With stream, members of one config share a detector; without, each
        # gets a table, and so a detector, of its own.
        members, shells = self._files(files), {}
        for member in members:
            member.prepare(model, shells if self.stream else {})
        # only now: after an error halfway there are no members
        self._members = members

    def release(self) -> None:
        """Free the members."""
        self._members = []

    def models(self) -> list[nn.Module]:
        """See :meth:`BaseCommittee.models`."""
        return list(dict.fromkeys(file.model for file in self._members))

    def members(self, model: nn.Module,
                batch: BatchLike) -> Iterator[Member]:
        """The model and the others in turn.

        Raises:
            RuntimeError: Before :meth:`prepare`.
        """
        if len(self._members) != self.size - 1:
            raise RuntimeError(
                'EnsembleCommittee has no members yet: call prepare first.')
        yield Member(model, partial(model.extract_feat, batch.inputs))
        for file in self._members:
            member = file.load(self.stream)
            # a member of the query's own config wants the images as they are
            inputs = batch.inputs if file.config is None else renormalise(
                batch.inputs, batch.samples, model.data_preprocessor,
                member.data_preprocessor)
            yield Member(member, partial(member.extract_feat, inputs))

    def _files(self, checkpoints: Sequence[str]) -> list[MemberFile]:
        configs = self.configs or [None] * len(checkpoints)
        return [MemberFile(*pair) for pair in zip(checkpoints, configs)]

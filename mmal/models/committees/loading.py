"""The members of an ensemble: one detector from its files."""
from __future__ import annotations

import copy
from typing import Optional

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmal.compat.checkpoints import load_checkpoint
from ..utils import head_outputs, level_grid
from .preprocessing import check_preprocessors

BLANK = 256  # pixels


class MemberFile:
    """A detector's weights in a file, and the detector that takes them.

    Args:
        path (str): The checkpoint.
        config (str, optional): The config; that of the model when None.
    """

    def __init__(self, path: str, config: Optional[str] = None) -> None:
        self.path = path
        self.config = config
        self._shell: Optional[nn.Module] = None
        self._device = torch.device('cpu')

    def check(self, model: nn.Module) -> None:
        """Compare classes, positions and preprocessing with a model's.

        Args:
            model (nn.Module): The detector, with any weights.

        Raises:
            CheckpointError, ValueError: Naming the config or checkpoint.
        """
        self._check_names(model)
        if self.config is not None:
            self._check_config(model, _build(self.config))

    def prepare(self, model: nn.Module, shells: dict) -> None:
        """Build the detector and load the weights.

        Args:
            model (nn.Module): The trained detector; gives the device.
            shells (dict): Config to a detector that members of it share.

        Raises:
            CheckpointError, FileNotFoundError: If the file is unusable.
            ValueError: If it is of another detector.
        """
        self._check_names(model)
        self._device = next(model.parameters()).device
        if self.config not in shells:
            shells[self.config] = self._detector(model)
        self._shell = shells[self.config]
        self._fill()

    def load(self, again: bool) -> nn.Module:
        """The detector on the model's device, in eval mode.

        Args:
            again (bool): Whether it must take its weights from the file,
                since others have used it.
        """
        if again:
            self._fill()
        if self.config is None or self._device.type == 'cpu':
            return self._shell
        if again:  # on the device only as long as it is used
            return copy.deepcopy(self._shell).to(self._device)
        return self._shell.to(self._device)

    def _fill(self) -> None:
        content = load_checkpoint(self.path, map_location='cpu', mmap=True)
        try:
            self._shell.load_state_dict(content.get('state_dict', content))
        except RuntimeError as e:
            whose = self.config or 'the config'
            raise ValueError(
                f'{self.path} does not fit the detector of {whose}: '
                f'{e}') from e

    def _detector(self, model: nn.Module) -> nn.Module:
        if self.config is None:
            return copy.deepcopy(model).eval()
        member = _build(self.config)
        self._check_config(model, member)
        return member

    @torch.no_grad()
    def _check_config(self, model: nn.Module, member: nn.Module) -> None:
        try:
            _check_alike(model, member)
        except ValueError as e:
            raise ValueError(
                f'active_learning.committee.configs: {self.config} cannot be '
                f'a member: {e}') from e

    def _check_names(self, model: nn.Module) -> None:
        ours = _names(getattr(model, 'dataset_meta', None))
        content = load_checkpoint(self.path, map_location='cpu', mmap=True)
        theirs = _names(content.get('meta', {}).get('dataset_meta'))
        if ours and theirs and ours != theirs:
            raise ValueError(
                f'{self.path} was trained for the classes '
                f'{", ".join(theirs)}, the model for {", ".join(ours)}: '
                'members need the same classes in the same order.')


def _build(config: str) -> nn.Module:
    """A detector on the CPU, without pretrained weights, in eval mode."""
    cfg = Config.fromfile(config)
    model = dict(cfg.model, _scope_=cfg.get('default_scope') or 'mmdet')
    return revert_sync_batchnorm(MODELS.build(model)).eval()


def _check_alike(model: nn.Module, member: nn.Module) -> None:
    check_preprocessors(model.data_preprocessor, member.data_preprocessor)
    two_stage = [hasattr(m, 'roi_head') for m in (model, member)]
    if two_stage[0] != two_stage[1]:
        raise ValueError('one of the two is a two-stage detector.')
    heads = [getattr(m, 'roi_head', m).bbox_head for m in (model, member)]
    numbers = [head.num_classes for head in heads]
    if numbers[0] != numbers[1]:
        raise ValueError(f'it has {numbers[1]} classes, the model '
                         f'{numbers[0]}.')
    if any(two_stage):  # all see the same proposals
        return
    ours, theirs = _grid(model), _grid(member)
    if ours != theirs:
        raise ValueError(
            f'its levels have {theirs} rows, columns and anchors for an image '
            f'of {BLANK} pixels, those of the model {ours}: its head needs '
            'the same strides and number of anchors.')


def _grid(model: nn.Module) -> list[tuple[int, ...]]:
    mode = model.training
    outputs = head_outputs(model.eval(), blank_inputs(model))
    model.train(mode)
    return level_grid(model.bbox_head, outputs)


def blank_inputs(model: nn.Module) -> Tensor:
    """[1, 3, S, S] on the model's device, a size that it takes."""
    head = getattr(model, 'bbox_head', None)
    priors = getattr(head, 'prior_generator', None)
    size = getattr(priors, 'input_size', BLANK)
    return torch.zeros(
        1, 3, size, size, device=next(model.parameters()).device)


def _names(meta: Optional[dict]) -> tuple[str, ...]:
    return tuple((meta or {}).get('classes') or ())

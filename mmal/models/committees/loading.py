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
from ..utils import head_outputs, level_grid, load_weights
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

    @property
    def model(self) -> Optional[nn.Module]:
        """The detector that takes the weights, once it is prepared."""
        return self._shell

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
            if self.config is None:
                shells[None] = copy.deepcopy(model).eval()
            else:
                shells[self.config] = _build(self.config)
                self._check_config(model, shells[self.config])
        self._shell = shells[self.config]
        load_weights(self._shell, self.path, self.config, mmap=True)

    def load(self, again: bool) -> nn.Module:
        """The detector on the model's device, in eval mode.

        Args:
            again (bool): Whether it must take its weights from the file,
                since others have used it.
        """
        if again:
            load_weights(self._shell, self.path, self.config, mmap=True)
        # what prepare copied from the model is on its device already
        if self.config is None or self._device.type == 'cpu':
            return self._shell
        if again:  # on the device only as long as it is used
            return copy.deepcopy(self._shell).to(self._device)
        return self._shell.to(self._device)

    @torch.no_grad()
    def _check_config(self, model: nn.Module, member: nn.Module) -> None:
        try:
            check_preprocessors(
                model.data_preprocessor, member.data_preprocessor)
            two_stage, other = (hasattr(m, 'roi_head')
                                for m in (model, member))
            if two_stage != other:
                raise ValueError('one of the two is a two-stage detector.')
            ours, theirs = (getattr(m, 'roi_head', m).bbox_head.num_classes
                            for m in (model, member))
            if ours != theirs:
                raise ValueError(f'it has {theirs} classes, the model {ours}.')
            if two_stage:  # all see the same proposals
                return
            # opinions of dense heads are compared position by position
            ours, theirs = _grid(model), _grid(member)
            if ours != theirs:
                raise ValueError(
                    f'its levels have {theirs} rows, columns and anchors for '
                    f'an image of {BLANK} pixels, those of the model {ours}: '
                    'its head needs the same strides and number of anchors.')
        except ValueError as e:
            raise ValueError(
                f'active_learning.committee.configs: {self.config} cannot be '
                f'a member: {e}') from e

    def _check_names(self, model: nn.Module) -> None:
        ours = _names(getattr(model, 'dataset_meta', None))
        # mapped: of hundreds of megabytes only the names are read
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
    # its own scope for this one: the default of the process is the query's
    model = dict(cfg.model, _scope_=cfg.get('default_scope') or 'mmdet')
    return revert_sync_batchnorm(MODELS.build(model)).eval()


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

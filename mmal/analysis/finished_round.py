"""What a run has left behind: the trained detector of each round, scores."""
from __future__ import annotations

import os.path as osp
from dataclasses import dataclass
from typing import Optional

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmal.fileio import read_json
from mmal.models.utils import load_weights
from mmal.pool import CocoData, load_coco
from mmal.pool.layout import RoundDir, WorkDir
from mmal.reporting import Curve
from mmal.scores import Scores


@dataclass(frozen=True)
class FinishedRound:
    """One round of a run on the disk.

    Args:
        run (str): The work folder of the run.
        number (int): The round, from 0.
    """
    run: str
    number: int

    @property
    def folder(self) -> RoundDir:
        """Its files."""
        return WorkDir(self.run).round(self.number)

    def config(self) -> Config:
        """The mmdet config it was trained with."""
        return _read_config(self.folder.config)

    def run_config(self) -> Config:
        """The config of the run, without what is of one round."""
        return _read_config(WorkDir(self.run).config)

    def labelled(self) -> CocoData:
        """What it was trained on."""
        return load_coco(self.folder.labelled)

    def model(self) -> tuple[nn.Module, Config]:
        """The detector as the round left it.

        Nothing but plain data is loaded from the checkpoint, and no weights
        for a start of training are looked for.

        Returns:
            tuple[nn.Module, Config]: In eval mode, on the GPU where there is
            one; and its config.

        Raises:
            FileNotFoundError: If there is no whole checkpoint.
            ValueError: If it does not fit the config.
        """
        cfg = self.config()
        path = self.folder.latest_checkpoint()
        if path is None:
            raise FileNotFoundError(
                f'{self.folder.path} has no whole checkpoint: train this '
                'round (tools/al_train.py --resume), or choose another.')
        model = build_model(cfg)
        load_weights(model, path, self.folder.config)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        return model.to(device).eval(), cfg

    def scores(self) -> Scores:
        """The scores of its query.

        Raises:
            FileNotFoundError: If it made none.
        """
        try:
            return Scores.load(self.folder.scores)
        except FileNotFoundError as e:
            raise FileNotFoundError(
                f'there is no {self.folder.scores}: round {self.number} of '
                f'{self.run} has made no query (the last round of a run makes '
                'none); choose another.') from e

    def selected(self) -> list:
        """The ids that its query chose; empty if it made none."""
        path = self.folder.selected
        return read_json(path)['ids'] if osp.exists(path) else []


def build_model(cfg: Config) -> nn.Module:
    """The detector of a config with whatever weights, on the CPU."""
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    return MODELS.build(cfg.model)


def find_round(run: str, number: Optional[int] = None) -> FinishedRound:
    """A round of a run.

    Args:
        run (str): The work folder of the run.
        number (int, optional): The round, from 0; negative numbers count from
            the end. Default: the last one that is trained.

    Raises:
        FileNotFoundError: If there is no such run or round, or no trained one.
    """
    known = rounds_of(run)
    if number is None:
        number = max(trained_rounds(run))
    if number < 0:
        number += len(known)
    if number not in known:
        numbers = ', '.join(map(str, known))
        raise FileNotFoundError(f'{run} has no round {number}: it has the '
                                f'rounds {numbers}.')
    return FinishedRound(run, number)


def rounds_of(run: str) -> list[int]:
    """The rounds of a run that were begun, from 0.

    Raises:
        FileNotFoundError: If there is no run in the folder.
    """
    numbers = WorkDir(run).round_numbers()
    if not numbers:
        raise FileNotFoundError(
            f'{run} is no work folder of a run: it has no round_00. Give the '
            'folder that tools/al_train.py wrote (work_dirs/<config>).')
    return numbers


def trained_rounds(run: str) -> list[int]:
    """The rounds of a run whose training is over.

    Raises:
        FileNotFoundError: If there is none.
    """
    # a round is in the curve when all of it is done; its folder is there
    # from the start of its training
    begun = rounds_of(run)
    curve = Curve.load(WorkDir(run).curve, missing_ok=True)
    trained = [r.round for r in curve.records if r.round in begun]
    if not trained:
        raise FileNotFoundError(
            f'no round of {run} is trained yet: let tools/al_train.py finish '
            'one.')
    return trained


def _read_config(path: str) -> Config:
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no {path}: was the run made by '
                                'tools/al_train.py?')
    return Config.fromfile(path)

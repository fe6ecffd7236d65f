"""Pictures of what a dense scorer sees in some images."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Optional

import mmcv
import numpy as np
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import nn

from mmal.engine.build import build_from
from mmal.engine.query_checks import check_committee
from mmal.engine.round_config import test_pipeline
from mmal.fileio import write_bytes
from mmal.models.committees import BaseCommittee
from mmal.pool import verify_image
from mmal.registry import TASK_UTILS
from mmal.scoring import ScoringData, scoring_pipeline
from mmal.scoring.batch import Batch, collate
from mmal.scoring.dense.probabilities import check_dense
from mmal.scoring.dense.score_map import MapScorer, score_map
from mmal.visualization.draw import picture_names
from mmal.visualization.heat_map import draw_heat_map


class ScoreMaps:
    """Draws informativeness maps with the scorer of a config.

    Args:
        cfg (Config): An mmdet config; ``active_learning.scorer`` must be a
            dense scorer, ``active_learning.committee`` is used if it trains
            no members.
        model (nn.Module): The trained detector in eval mode, with its
            ``dataset_meta``.
        scorer (str, optional): Type of another scorer; it takes over
            ``classes`` and ``class_weights`` of the config's.
        members (sequence[str]): Checkpoints of an ensemble's other members.
        class_name (str, optional): Draw the values of this class alone.

    Raises:
        FileNotFoundError, ValueError: If a setting is wrong.
    """

    def __init__(self,
                 cfg: Config,
                 model: nn.Module,
                 scorer: Optional[str] = None,
                 members: Sequence[str] = (),
                 class_name: Optional[str] = None) -> None:
        check_dense(model)
        settings = cfg.get('active_learning') or {}
        self.model = model
        self.scorer = _dense_scorer(settings, scorer)
        committee = _committee(settings, self.scorer, members)
        data = ScoringData({}, seed=settings.get('seed', 0),
                           committee=committee)
        check_committee(self.scorer, committee, model, in_run=False)
        self.scorer.check(model, data)
        self.class_index = _class_index(model, class_name)
        if committee is not None:
            committee.prepare(model, data.seed)
        self.scorer.prepare(model, data)
        self.label = self.scorer.quantity + (
            f' ({class_name})' if class_name else '')
        self.pipeline = Compose(
            scoring_pipeline(test_pipeline(cfg), labels=False))

    def map_of(self, path: str) -> np.ndarray:
        """The map of an image file, [H, W] of the network's input."""
        batch = self._batch(path)
        found = score_map(self.scorer, self.model, batch, self.class_index)
        height, width = batch.samples[0].img_shape[:2]
        return found[0, :height, :width].cpu().numpy()

    def draw(self,
             images: Sequence[str],
             folder: str,
             vmax: Optional[float] = None) -> Iterator[str]:
        """Write a png of each image.

        Args:
            images (sequence[str]): Paths.
            folder (str): Where the pictures go; made if missing.
            vmax (float, optional): The value of the brightest colour; the
                largest one of each image when None.

        Yields:
            str: The files, named as the images are.

        Raises:
            FileNotFoundError, ValueError: If there is no such image, or it
                cannot be read; nothing is drawn.
        """
        for path in images:
            _check_image(path)
        os.makedirs(folder, exist_ok=True)
        for path, name in zip(images, picture_names(images)):
            file = osp.join(folder, name)
            write_bytes(file, self.picture(path, vmax))
            yield file

    def picture(self, path: str, vmax: Optional[float] = None) -> bytes:
        """The png of an image file, see :meth:`draw`."""
        image = mmcv.imread(path, channel_order='rgb')
        return draw_heat_map(image, self.map_of(path), self.label, vmax)

    def _batch(self, path: str) -> Batch:
        item = self.pipeline(
            dict(img_path=path, img_id=osp.basename(path), instances=[]))
        return collate([item], self.model)


def _check_image(path: str) -> None:
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no image {path}: check the path.')
    reason = verify_image(path)
    if reason is not None:
        raise ValueError(f'{path} cannot be read as an image: {reason}. Leave '
                         'it out.')


def _dense_scorer(settings: dict, kind: Optional[str]) -> MapScorer:
    key = 'active_learning.scorer'
    cfg = settings.get('scorer')
    if kind:
        cfg = dict(_shared_keys(kind, cfg or {}), type=kind)
    if cfg is None:
        raise ValueError(f'{key} is not set: give --scorer, e.g. '
                         'mmal.EntropyScorer.')
    scorer = build_from('scorer', cfg)
    if not hasattr(scorer, 'map_values'):
        raise ValueError(
            f'{key} is {cfg["type"]}, which has no value of each position to '
            'draw: give --scorer, one of mmal.EntropyScorer, '
            'mmal.MutualInformationScorer, mmal.MarginScorer, '
            'mmal.LeastConfidenceScorer, mmal.GradScorer and '
            'mmal.BALDScorer.')
    return scorer


def _shared_keys(kind: str, cfg: dict) -> dict:
    """What says of a config's scorer which values are drawn, if another one
    has these keys too."""
    wanted = TASK_UTILS.get(kind)
    known = signature(wanted).parameters if wanted else ()
    return {k: cfg[k] for k in ('classes', 'class_weights')
            if k in cfg and k in known}


def _committee(settings: dict, scorer: MapScorer,
               members: Sequence[str]) -> Optional[BaseCommittee]:
    """Members by name, or of the config; one model may do without."""
    if members:
        return TASK_UTILS.build(
            dict(type='mmal.EnsembleCommittee', checkpoints=list(members)))
    if settings.get('committee') is None:
        return None
    committee = build_from('committee', settings['committee'])
    if committee.trained_members and not scorer.needs_committee:
        return None
    if committee.trained_members:
        raise ValueError(
            f'{type(scorer).__name__} compares several opinions: name the '
            'checkpoints of the other members with --members.')
    return committee


def _class_index(model: nn.Module, name: Optional[str]) -> Optional[int]:
    if name is None:
        return None
    classes = list((model.dataset_meta or {}).get('classes', ()))
    if name not in classes:
        raise ValueError(f'{name!r} is no class of the detector: choose one '
                         f'of {", ".join(classes)}.')
    return classes.index(name)

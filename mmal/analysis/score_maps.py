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
from mmal.engine.dataset_config import image_loader
from mmal.engine.query_checks import check_committee
from mmal.engine.round_config import test_pipeline
from mmal.fileio import write_bytes
from mmal.models.committees import BaseCommittee
from mmal.pool import verify_image
from mmal.registry import TASK_UTILS
from mmal.scoring import ScoringData, scoring_pipeline
from mmal.scoring.batch import collate
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
        block = cfg.get('active_learning') or {}
        self.model = model
        self.scorer = _build_scorer(block.get('scorer'), scorer)
        committee = _build_committee(block.get('committee'), self.scorer,
                                     members)
        data = ScoringData(
            {}, seed=block.get('seed', 0), committee=committee)
        check_committee(self.scorer, committee, model, in_run=False)
        self.scorer.check(model, data)
        self.class_index = None
        if class_name is not None:
            classes = list((model.dataset_meta or {}).get('classes', ()))
            if class_name not in classes:
                raise ValueError(
                    f'{class_name!r} is no class of the detector: choose one '
                    f'of {", ".join(classes)}.')
            self.class_index = classes.index(class_name)
        if committee is not None:
            committee.prepare(model, data.seed)
        self.scorer.prepare(model, data)
        self.label = self.scorer.quantity + (
            f' ({class_name})' if class_name else '')
        self.pipeline = Compose(
            scoring_pipeline(test_pipeline(cfg), labels=False))
        self.loader = image_loader(test_pipeline(cfg))

    def map_of(self, path: str) -> np.ndarray:
        """The map of an image file, [H, W] of the network's input."""
        item = self.pipeline(
            dict(img_path=path, img_id=osp.basename(path), instances=[]))
        batch = collate([item], self.model)
        values = score_map(self.scorer, self.model, batch, self.class_index)
        # what pads the image to the network's strides is no part of it
        height, width = batch.samples[0].img_shape[:2]
        return values[0, :height, :width].cpu().numpy()

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
        # all of them first: a picture may take a minute on a CPU
        for path in images:
            if not osp.isfile(path):
                raise FileNotFoundError(
                    f'there is no image {path}: check the path.')
            reason = verify_image(path, loader=self.loader, load=True)
            if reason is not None:
                raise ValueError(f'{path} cannot be read as an image: '
                                 f'{reason}. Leave it out.')
        os.makedirs(folder, exist_ok=True)
        for path, name in zip(images, picture_names(images)):
            file = osp.join(folder, name)
            write_bytes(file, self.picture(path, vmax))
            yield file

    def picture(self, path: str, vmax: Optional[float] = None) -> bytes:
        """The png of an image file, see :meth:`draw`."""
        image = mmcv.imread(path, channel_order='rgb')
        return draw_heat_map(image, self.map_of(path), self.label, vmax)


def _build_scorer(cfg: Optional[dict], kind: Optional[str]) -> MapScorer:
    """The scorer of a config, or one of another type in its place."""
    key = 'active_learning.scorer'
    if kind:
        # what says which values are drawn is taken over, if this type has it
        wanted = TASK_UTILS.get(kind)
        known = signature(wanted).parameters if wanted else ()
        shared = {k: cfg[k] for k in ('classes', 'class_weights')
                  if k in (cfg or {}) and k in known}
        cfg = dict(shared, type=kind)
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


def _build_committee(cfg: Optional[dict], scorer: MapScorer,
                     members: Sequence[str]) -> Optional[BaseCommittee]:
    """Members by name, or of the config; one model may do without."""
    if members:
        return TASK_UTILS.build(
            dict(type='mmal.EnsembleCommittee', checkpoints=list(members)))
    if cfg is None:
        return None
    committee = build_from('committee', cfg)
    # members that a run would train: there are none outside it
    if committee.trained_members and not scorer.needs_committee:
        return None
    if committee.trained_members:
        raise ValueError(
            f'{type(scorer).__name__} compares several opinions: name the '
            'checkpoints of the other members with --members.')
    return committee

"""Train another detector on what a run has labelled."""
from __future__ import annotations

import hashlib
import os.path as osp
from typing import Optional

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import init_default_scope

from mmal.dist import on_main, setup_dist
from mmal.engine.checks import check_model, check_val
from mmal.engine.dataset_config import innermost_dataset
from mmal.engine.fingerprint import fingerprint
from mmal.engine.lease import release_lease
from mmal.engine.lock import lock_training_dir
from mmal.engine.round_config import round_config
from mmal.engine.settings import Settings, pool_dataset
from mmal.engine.training import trained
from mmal.fileio import read_json, write_bytes
from mmal.pool.layout import RoundDir, WorkDir
from mmal.reporting import Curve, Record
from .finished_round import FinishedRound, find_round
from .plain_training import check_training_data, plain_config


class Transfer:
    """Trains any detector on the labelled images of a round, and tests it.

    "Deep Active Learning for Object Detection with Mixture Density Networks",
    figure 4c. The images are read where the run read them; schedule,
    augmentation and validation are those of the config. Training is seeded,
    and resumed with the same result, as that of a round.

    The work folder holds ``labelled.json``, ``config.py``, checkpoints,
    ``metrics.json`` and ``curve.json`` (one record: images, boxes, metrics).

    Args:
        cfg (Config): An mmdet config with a COCO data set and a ``work_dir``.
            Its ``active_learning`` block, if any, is not used.
        run (str): The work folder of the run.
        number (int, optional): The round. Default: the last one trained.
        seed (int, optional): Default: that of the run.
        resume (bool): Go on with the training in ``work_dir``, if there is
            one.

    Raises:
        FileNotFoundError: If there is no such run or round.
    """

    def __init__(self,
                 cfg: Config,
                 run: str,
                 number: Optional[int] = None,
                 seed: Optional[int] = None,
                 resume: bool = False) -> None:
        self.round: FinishedRound = find_round(run, number)
        source = self.round.run_config()
        settings = Settings.from_config(source)
        self.seed = settings.seed if seed is None else seed
        self.pool = pool_dataset(source, settings)
        self.cfg = plain_config(cfg)
        self.work = WorkDir(osp.abspath(cfg.work_dir))
        self.resume = resume

    def run(self) -> Record:
        """Train and evaluate.

        Returns:
            Record: What is in ``curve.json``.

        Raises:
            FileNotFoundError, ValueError: If a file or a setting is wrong,
                found before training.
        """
        try:
            return self._run()
        finally:
            release_lease(self.work)

    def _run(self) -> Record:
        setup_dist(self.cfg.get('launcher', 'none'))
        init_default_scope(self.cfg.get('default_scope') or 'mmdet')
        images, boxes = on_main(self._check)
        folder = RoundDir(self.work.path)

        def lock() -> None:
            with open(self.round.folder.labelled, 'rb') as f:
                labelled = f.read()
            content = dict(
                fingerprint(self.cfg),
                labelled=hashlib.sha256(labelled).hexdigest(),
                round=self.round.number,
                seed=self.seed,
                processes=get_world_size())
            lock_training_dir(self.work, content, self.resume)
            # a copy: the folder says what it was trained on without the run
            write_bytes(folder.labelled, labelled)

        on_main(lock)
        checkpoint = on_main(folder.latest_checkpoint)
        with trained(self.training_config(checkpoint)) as training:
            # a part of the time was spent before the interruption
            seconds = None if checkpoint else training.seconds

        def save() -> Record:
            record = Record(self.round.number, images, boxes,
                            read_json(folder.metrics), seconds)
            try:
                before = Curve.load(self.work.curve, missing_ok=True).records
            except ValueError:  # it is written anew, but for the time
                before = []
            if before and seconds is None:
                record.train_seconds = before[0].train_seconds
            note = f'{self.cfg.filename} on the labels of {self.round.run}'
            Curve([record], 'rounds', note).save(self.work.curve)
            return record

        return on_main(save)

    def training_config(self, checkpoint: Optional[str] = None) -> Config:
        """The config of the training.

        Args:
            checkpoint (str, optional): Where to resume from.
        """
        # given even if empty: those of the new config must not stay
        data = dict(
            data_root=self.pool.get('data_root') or '',
            data_prefix=self.pool.get('data_prefix') or dict(img=''),
            ann_file=osp.abspath(self.round.folder.labelled))
        settings = Settings(data=data, budget=dict(size=1), seed=self.seed)
        # the number of the round, for the same seeds as those of its own
        # model, and so the same result if the config is the run's
        return round_config(self.cfg, settings, self.round.number,
                            RoundDir(self.work.path), checkpoint)

    def _check(self) -> tuple[int, int]:
        """Find what is wrong with images, classes, validation and model.

        Returns:
            tuple[int, int]: Images and boxes to train on.
        """
        if not self.cfg.get('val_dataloader'):
            raise ValueError(
                f'{self.cfg.filename} has no val_dataloader: without it the '
                'new detector cannot be evaluated.')
        coco = self.round.labelled()
        dataset = innermost_dataset(self.cfg.train_dataloader.dataset)
        check_training_data(coco, dataset, self.pool)
        check_val(self.cfg)
        check_model(self.cfg, dataset)
        return len(coco.ids), coco.num_boxes


def result_line(record: Record) -> str:
    """A transfer's result for a reader.

    Examples:
        >>> result_line(Record(3, 4000, 9876, {'coco/bbox_mAP': 0.2346,
        ...                                    'coco/bbox_mAP_50': 0.5}))
        'round 3: 4,000 images, 9,876 boxes, AP 0.235, AP50 0.500'
    """
    values = {name: record.value(name) for name in ('AP', 'AP50', 'AP75')}
    shown = ''.join(
        f', {k} {v:.3f}' for k, v in values.items() if v is not None)
    return (f'round {record.round}: {record.images:,} images, '
            f'{record.boxes:,} boxes{shown}')


def default_suffix(run: str, number: Optional[int]) -> str:
    """Ends the name of the default work folder: run and round."""
    name = osp.basename(osp.abspath(run))
    folder = find_round(run, number).folder
    return f'_on_{name}_{osp.basename(folder.path)}'

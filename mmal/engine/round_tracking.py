"""What each round brought, sent to the experiment trackers of the config."""
from __future__ import annotations

import logging
import os.path as osp
import re
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from mmal.fileio import read_json, write_json
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, draw_curves
from mmal.reporting.tables import round_rows


def track_round(cfg: Config, work: WorkDir, curve: Curve, number: int,
                logger: logging.Logger) -> None:
    """Send the metrics of a round, the curve and the table of all rounds.

    To every backend of ``visualizer.vis_backends`` but those that write files
    of mmengine's own, for the work folder has these numbers. A metric is
    there twice: ``by_images/…`` with the labelled images as the step, and
    ``by_boxes/…`` with their boxes. For process 0 alone. Trackers are other
    people's services: one that fails is warned of and stops no run.

    Args:
        cfg (Config): The config of the run.
        work (WorkDir): Its work folder; what trackers write to a disk goes
            into ``tracking``.
        curve (Curve): The rounds so far.
        number (int): The round to send.
        logger (Logger): Gets the warnings.
    """
    (record, ) = [r for r in curve.records if r.round == number]
    values = {**record.metrics, **{
        name: getattr(record, name) for name in (
            'round', 'images', 'boxes', 'hours', 'efficiency',
            'train_seconds', 'query_seconds', 'reselected', 'by_score')}}
    # MLflow knows letters, digits and these characters alone
    values = {re.sub(r'[^\w\-. /]', '_', name): float(value)
              for name, value in values.items() if value is not None}
    header, rows = round_rows(curve)
    lines = [header, ['---'] * len(header), *rows]
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)

    for settings in (cfg.get('visualizer') or {}).get('vis_backends') or ():
        settings = dict(settings)
        kind = str(settings['type']).rpartition('.')[2]
        if kind == 'LocalVisBackend':
            continue
        name = settings.pop('run_name', None) or osp.basename(work.path)
        try:
            backend = VISBACKENDS.build(dict(settings, save_dir=work.tracking))
            tracker = backend.experiment
            is_mlflow = hasattr(tracker, 'start_run')
            if is_mlflow:
                _continue_run(tracker, work, name)
            for by in ('images', 'boxes'):
                for key, value in values.items():
                    backend.add_scalar(f'by_{by}/{key}', value,
                                       step=getattr(record, by))
            picture = np.frombuffer(draw_curves(curve), np.uint8)
            picture = cv2.imdecode(picture, cv2.IMREAD_COLOR)[..., ::-1]
            backend.add_image('learning_curve.png',
                              np.ascontiguousarray(picture), step=number)
            if is_mlflow:
                tracker.log_text(table, 'rounds.md')
                # its close() would upload the whole work folder
                tracker.end_run()
                continue
            if hasattr(tracker, 'add_text'):
                tracker.add_text('rounds', table, number)
            elif hasattr(tracker, 'Table'):
                tracker.log({'rounds': tracker.Table(header, rows)})
            backend.close()
        except Exception as e:
            logger.warning(f'Round {number} was not sent to {kind}: '
                           f'{type(e).__name__}: {e}')


def _continue_run(mlflow: Any, work: WorkDir, name: str) -> None:
    """Open the run of this work folder, which each round goes on with: the
    training of a round opens and ends one of its own."""
    if mlflow.active_run():
        mlflow.end_run()
    if osp.exists(work.tracked_run):
        mlflow.start_run(run_id=read_json(work.tracked_run)['run_id'])
    else:
        run = mlflow.start_run(run_name=name)
        write_json(work.tracked_run, dict(run_id=run.info.run_id))

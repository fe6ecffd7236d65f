"""What each round brought, sent to the experiment trackers of the config."""
from __future__ import annotations

import copy
import logging
import os
import os.path as osp
import re
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from mmal.fileio import read_json, write_json
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, draw_curves
from mmal.reporting.tables import round_rows
from mmal.reporting.uncertainty_tables import PlainTable


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
    # backends write into their settings, and the config is the user's
    backends = [copy.deepcopy(dict(settings)) for settings in
                (cfg.get('visualizer') or {}).get('vis_backends') or ()]
    kinds = [getattr(settings['type'], '__name__', str(settings['type']))
             .rpartition('.')[2] for settings in backends]
    if set(kinds) <= {'LocalVisBackend'}:
        return

    (record, ) = [r for r in curve.records if r.round == number]
    metrics = {**record.metrics, **{
        name: getattr(record, name) for name in (
            'round', 'images', 'boxes', 'hours', 'efficiency',
            'train_seconds', 'query_seconds', 'reselected', 'by_score')}}
    # MLflow knows letters, digits and these characters alone
    metrics = {re.sub(r'[^\w\-. /]', '_', name): float(value)
               for name, value in metrics.items() if value is not None}
    points = [(f'by_{by}/{name}', value, getattr(record, by))
              for by in ('images', 'boxes') for name, value in metrics.items()]
    picture = np.frombuffer(draw_curves(curve), np.uint8)
    picture = np.ascontiguousarray(
        cv2.imdecode(picture, cv2.IMREAD_COLOR)[..., ::-1])
    header, rows = round_rows(curve)
    table = PlainTable('Rounds', tuple(header), tuple(map(tuple, rows)))

    for kind, settings in zip(kinds, backends):
        if kind == 'LocalVisBackend':
            continue
        settings['save_dir'] = work.tracking
        send = _SENDERS.get(kind, _send_to_backend)
        try:
            send(settings, work, number, points, picture, table)
        except Exception as e:
            logger.warning(f'Round {number} was not sent to {kind}: '
                           f'{type(e).__name__}: {e}')


def _send_to_backend(settings: dict[str, Any], work: WorkDir, number: int,
                     points: list[tuple[str, float, int]],
                     picture: np.ndarray, table: PlainTable) -> None:
    """Open a backend, add a round, and close it."""
    backend = VISBACKENDS.build(settings)
    try:
        tracker = backend.experiment
        for name, value, step in points:
            backend.add_scalar(name, value, step=step)
        backend.add_image('learning_curve.png', picture, step=number)
        if hasattr(tracker, 'add_text'):
            tracker.add_text('rounds', table.markdown(), number)
    finally:  # or the next training would go on with this run
        backend.close()


def _send_to_wandb(settings: dict[str, Any], work: WorkDir, number: int,
                   points: list[tuple[str, float, int]],
                   picture: np.ndarray, table: PlainTable) -> None:
    """Add a round to the one run of Weights & Biases that a work folder has.

    Not by mmengine's backend, which opens a new run for each round and drops
    the steps of its metrics. The run is never the active one, see
    :func:`_send_to_mlflow`.
    """
    import wandb
    path = work.tracked_run('wandb')
    run_id = read_json(path)['run_id'] if osp.exists(path) else None
    os.makedirs(work.tracking, exist_ok=True)
    with wandb.init(**{
            'name': osp.basename(osp.abspath(work.path)),
            'dir': work.tracking, **(settings.get('init_kwargs') or {}),
            'id': run_id, 'resume': 'allow', 'reinit': 'create_new'}) as run:
        write_json(path, dict(run_id=run.id))
        row = {'learning_curve': wandb.Image(picture),
               'rounds': wandb.Table(columns=list(table.header),
                                     data=list(map(list, table.rows)))}
        for name, value, step in points:
            by = name.partition('/')[0]  # 'by_images' or 'by_boxes'
            axis = by.removeprefix('by_')
            if axis not in row:
                row[axis] = step
                run.define_metric(axis, hidden=True)
                run.define_metric(f'{by}/*', step_metric=axis)
            row[name] = value
        # not counted by wandb, which begins at 0 again when it is offline
        run.log(row, step=number)


def _send_to_mlflow(settings: dict[str, Any], work: WorkDir, number: int,
                    points: list[tuple[str, float, int]],
                    picture: np.ndarray, table: PlainTable) -> None:
    """Add a round to the one run of MLflow that a work folder has.

    The run is written to by its id and is never the active one: a run that
    the user has open stays open and gets nothing of this, and the training
    of the next round cannot log into ours.
    """
    name = settings.pop('run_name', None) or osp.basename(
        osp.abspath(work.path))
    # given to the backend, these would open a run of their own
    tags: Mapping = settings.pop('tags', None) or {}
    params: Mapping = settings.pop('params', None) or {}
    mlflow = VISBACKENDS.build(settings).experiment  # where, and under what
    client = mlflow.MlflowClient()
    path = work.tracked_run('mlflow')
    if osp.exists(path):
        run_id = read_json(path)['run_id']
        try:
            is_gone = client.get_run(run_id).info.lifecycle_stage == 'deleted'
        except mlflow.exceptions.MlflowException as e:
            if e.error_code != 'RESOURCE_DOES_NOT_EXIST':
                raise
            is_gone = True
        if is_gone:
            raise LookupError(
                f'the run {run_id} of {path} is not at '
                f'{mlflow.get_tracking_uri()} any more. Delete that file to '
                'begin a new run.')
    else:
        experiment = client.get_experiment_by_name(
            settings.get('exp_name') or 'Default')
        run_id = client.create_run(experiment.experiment_id,
                                   run_name=name).info.run_id
        write_json(path, dict(run_id=run_id))
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        for key, value in params.items():
            client.log_param(run_id, key, value)
    try:
        for key, value, step in points:
            client.log_metric(run_id, key, value, step=step)
        client.log_image(run_id, picture, 'learning_curve.png')
        client.log_text(run_id, table.markdown(), 'rounds.md')
    finally:
        client.set_terminated(run_id)


# trackers whose backend in mmengine cannot go on with a run of its own
_SENDERS: dict[str, Callable[..., None]] = {
    'MLflowVisBackend': _send_to_mlflow,
    'WandbVisBackend': _send_to_wandb,
}

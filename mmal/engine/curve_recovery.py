"""The curve of a run, made again from the files of its rounds."""
from __future__ import annotations

import logging
import os.path as osp
from typing import Any, Callable

from mmengine.logging import print_log

from mmal.fileio import read_json
from mmal.pool import Pool, write_labelled
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, Record
from .inputs import RunInputs, trained_counts
from .metrics_file import metrics_in_log, read_metrics, write_metrics


def load_curve(work: WorkDir, rounds: int, pool: Pool,
               inputs: RunInputs) -> Curve:
    """Read ``curve.json``; what it or ``metrics.json`` lacks is made again.

    For process 0 alone. Warnings name what was damaged or missing. How long
    a training took that is not in the curve any more nobody knows.

    Args:
        work (WorkDir): The work folder.
        rounds (int): How many rounds are done, and must be in the curve.
        pool (Pool): The pool, which has all these rounds.
        inputs (RunInputs): Config and data of the run.

    Returns:
        Curve: With a record of every round that is done.
    """
    try:
        curve = Curve.load(work.curve, missing_ok=True)
    except ValueError:
        print_log(f'{work.curve} is damaged: it is made again.', 'current',
                  logging.WARNING)
        curve = Curve()
    kept = {record.round: record for record in curve.records}
    lost = [number for number in range(rounds) if number not in kept]
    if lost:
        print_log(
            f'{work.curve} lacks the rounds {", ".join(map(str, lost))}: '
            'they are taken from their own files.', 'current',
            logging.WARNING)
    for number in range(rounds):
        folder = work.round(number)
        metrics = read_metrics(folder)
        if metrics is None and inputs.cfg.get('val_dataloader'):
            # the curve has what the file had, the log at least what mmdet
            # and mmengine have printed
            metrics = kept[number].metrics if number in kept else \
                metrics_in_log(folder)
            if metrics:
                write_metrics(folder, metrics)
            else:
                print_log(
                    f'neither {folder.metrics} nor a log tells what the '
                    f'validation of round {number} gave: the curve shows no '
                    'value.', 'current', logging.WARNING)
        if number in lost:
            curve.add(_record(work, number, pool, inputs, metrics or {}))
    return curve


def recount_hours(curve: Curve, work: WorkDir, pool: Pool,
                  inputs: RunInputs) -> None:
    """Count hours of labelling by the cost model of now.

    A run may be older than hours, or people may take another time than was
    thought, and hours of two cost models in one curve would mean nothing. The
    last round tells whether they agree; otherwise the labels of each round
    are read.

    Args:
        curve (Curve): Rounds that are done; changed in place.
        work (WorkDir): The work folder.
        pool (Pool): Which images each round has.
        inputs (RunInputs): What the run reads.
    """
    for record in reversed(curve.records):
        hours = _record(work, record.round, pool, inputs, {}).hours
        if record is curve.records[-1] and record.hours == hours:
            return
        record.hours = hours


def _record(work: WorkDir, number: int, pool: Pool, inputs: RunInputs,
            metrics: dict) -> Record:
    """What a round that is done cost and brought, by its files."""
    folder, settings = work.round(number), inputs.settings
    ids = pool.labelled(number)

    def annotations_of(content: Any) -> list[dict]:
        if {image['id'] for image in content['images']} != set(ids):
            raise ValueError('it lists other images than state.json')
        return content['annotations']

    annotations = _read(folder.labelled, annotations_of)
    remade = annotations is None
    if remade:
        annotations = inputs.oracle.annotate(ids)
    images, boxes, _ = trained_counts(
        inputs.coco, annotations, ids, inputs.rule, settings.data.crowd)
    if remade:
        write_labelled(folder, inputs.coco, pool, annotations, number)
    hours = inputs.query.budget.cost_model.hours(
        len(ids), annotations, inputs.coco.categories)
    record = Record(number, images, boxes, metrics, hours=hours)
    repeats = sum(pool.repeat_counts(number).values())
    if repeats or settings.reselects:
        record.reselected = repeats
    times = _read(
        folder.selected,
        lambda content: (content['seconds'], content.get('by_score')))
    if times is not None:
        record.query_seconds, record.by_score = times
    return record


def _read(path: str, extract: Callable[[Any], Any]) -> Any:
    """Something in a JSON file; None, with a warning if it is damaged, where
    it is not there."""
    if not osp.exists(path):
        return None
    try:
        return extract(read_json(path))
    except (ValueError, TypeError, LookupError) as e:
        print_log(f'{path} is damaged ({type(e).__name__}: '
                  f'{e.__cause__ or e}).', 'current', logging.WARNING)
        return None

"""A round without its training: all that the run will build, built once.

What a dry run cannot find here only the training itself can get wrong. The
files it needs lie in a temporary folder; the work folder is not touched.
"""
from __future__ import annotations

import contextlib
import io
import os.path as osp
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from mmengine.dist import is_main_process
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import nn

from mmal.dist import on_main
from mmal.pool import (
    Pool,
    write_labelled,
    write_split,
)
from mmal.pool.layout import WorkDir
from mmal.scoring import score_pool
from mmal.scoring.data import Split
from .inputs import RunInputs
from .round_config import round_config, scoring_splits

# images of each split that a rehearsed query may look at
_FEW = 2


def rehearse(inputs: RunInputs) -> None:
    """Build and try everything of the first round but its training.

    All processes of a run call this together.

    In order: the training data, one batch of it decoded and collated; the
    model with its initial weights, pretrained ones included; hooks with a
    method ``rehearse``, which takes the runner and does to the model what
    scorers need of a training; validation data and evaluator with one image;
    the visualizer and its backends; a query with the scorer, committee and
    selector of the run on a few images.

    Where people label the first images nothing can be tried before they did.

    Args:
        inputs (RunInputs): Config and data, checked.

    Raises:
        ValueError: If a step fails; the message names the step, the key of
            the config and the cause.
    """
    if not inputs.is_labelled:
        return  # without labels there is nothing to train on yet
    with tempfile.TemporaryDirectory(prefix='mmal_dry_run_') as folder, \
            _fresh_singletons():
        work = WorkDir(folder)
        runner, splits = _make_runner(inputs, work)
        with _step('the training data', 'train_dataloader'):
            loop = runner.build_train_loop(runner.cfg.train_cfg)
            batch = next(iter(loop.dataloader), None)
            if batch is None:
                raise ValueError(
                    'the data set and its sampler give no batch: lower '
                    'batch_size, or set drop_last=False')
        with _step('the model and its initial weights', 'model'):
            if runner._load_from is None:
                runner._init_model_weights()
            else:
                runner.load_or_resume()
            model = runner.model
            with torch.no_grad():
                model.data_preprocessor(batch, True)
        with _step('the hooks', 'custom_hooks'):
            for hook in runner.hooks:
                if hasattr(hook, 'rehearse'):  # most have nothing to try
                    hook.rehearse(runner)
        model.eval()
        if inputs.cfg.get('val_dataloader'):
            with _step('validation', 'val_dataloader or val_evaluator'):
                _validate_one(runner)
        if inputs.settings.rounds > 1:
            with _step('the query', 'active_learning'):
                _query_few(inputs, model, splits)


@contextmanager
def _step(what: str, key: str) -> Iterator[None]:
    """Say which step comes, and name it in whatever error it ends with."""
    if is_main_process():
        print(f'trying {what} …', file=sys.stderr, flush=True)
    try:
        # mmdet and pycocotools print as they load
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as e:
        cause = str(e).strip() or 'no message'
        lines = cause.splitlines()
        raise ValueError(
            f'trying {what} failed ({key}): '
            f'{type(e).__name__}: {" ".join(lines)[-800:]}') from e


@contextmanager
def _fresh_singletons() -> Iterator[None]:
    """mmengine finds loggers and the like by name: those made inside must not
    be taken for those of the run."""
    kinds = (MMLogger, MessageHub, Visualizer)
    before = [dict(kind._instance_dict) for kind in kinds]
    try:
        yield
    finally:
        for kind, instances in zip(kinds, before):
            kind._instance_dict.clear()
            kind._instance_dict.update(instances)


def _make_runner(inputs: RunInputs,
                 work: WorkDir) -> tuple[Runner, dict[str, Split]]:
    """The runner of round 0, and the splits of its query."""
    folder = work.round(0)
    pool = Pool(inputs.coco.ids)
    pool.commit(inputs.initial_ids)
    annotations = on_main(
        lambda: inputs.oracle.annotate(inputs.initial_ids))
    write_labelled(folder, inputs.coco, pool, annotations)
    # every process validates: all need the repaired file
    val = on_main(lambda: inputs.val
                  if inputs.val is not None and inputs.val.repairs else None)
    if val is not None:
        write_split(work.val, val, val.ids, val.annotations_of(val.ids))
    cfg = inputs.cfg.copy()
    cfg.work_dir = work.path
    with _step('the config of a round', 'the config'):
        cfg = round_config(cfg, inputs.settings, 0, folder, None)
    cfg.launcher = 'none'
    cfg.log_level = 'ERROR'
    with _step('the runner', 'visualizer, default_hooks or env_cfg'):
        runner = Runner.from_cfg(cfg)
    run_cfg = inputs.cfg.copy()
    run_cfg.work_dir = work.path
    splits = scoring_splits(run_cfg, inputs.settings, folder, inputs.coco,
                            pool)
    return runner, splits


def _validate_one(runner: Runner) -> None:
    """Predict one batch of the validation set and evaluate it."""
    loop = runner.build_val_loop(runner.cfg.val_cfg)
    runner.model.eval()
    batch = next(iter(loop.dataloader))
    with torch.no_grad():
        outputs = runner.model.val_step(batch)
    loop.evaluator.process(data_samples=outputs, data_batch=batch)
    loop.evaluator.evaluate(len(outputs))


def _query_few(inputs: RunInputs, model: nn.Module,
               splits: dict[str, Split]) -> None:
    """Score a few images and put them in order."""
    query = inputs.query
    few = {}
    for name, split in splits.items():
        ids = query.data(splits, 0).ids(name)[:_FEW]
        few[name] = replace(split, ids=ids)
    data = query.data(few, 0)
    data.progress = False
    committee = query.committee
    weights = []
    with tempfile.TemporaryDirectory(prefix='mmal_dry_run_') as folder:
        if committee is not None:
            for member in range(query.trained_members):
                weights.append(osp.join(folder, f'{member}.pth'))
                torch.save(dict(state_dict=model.state_dict()), weights[-1])
            committee.prepare(model, inputs.settings.seed, 0, weights)
        try:
            split = 'candidates' if inputs.settings.reselects else 'unlabelled'
            if few[split].ids:
                score_pool(model, query.scorer, data, split)
        finally:
            if committee is not None:
                committee.release()

"""Two selections compared by what models learn from them.

Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
section V: a reference model's labelled set is enlarged by one selection or by
another of the same size.
"""
from __future__ import annotations

import copy
import hashlib
import os.path as osp
from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmal.compat.checkpoints import split_sha256
from mmal.compat.quiet import quiet_log
from mmal.dist import on_main, setup_dist
from mmal.engine.checks import check_model, check_val
from mmal.engine.dataset_config import innermost_dataset
from mmal.engine.fingerprint import fingerprint
from mmal.engine.lease import release_lease
from mmal.engine.lock import lock_training_dir
from mmal.engine.members import is_trained, train_to_weights
from mmal.engine.round_config import classes_of, test_pipeline
from mmal.engine.settings import Settings, absolute
from mmal.evaluation import ab_split, relative_change, spread
from mmal.evaluation.size_weighted_coco_metric import COCO_AREAS
from mmal.fileio import read_json, write_json
from mmal.models.utils import load_weights
from mmal.models.utils.evaluation_mode import full_precision
from mmal.pool import load_coco
from mmal.pool.layout import MemberDir, WorkDir
from mmal.reporting import ABRow, PlainTable, ab_table
from .ab_data import by_name, check_disjoint, joined, load_selection
from .finished_round import build_model
from .plain_training import check_training_data, plain_config

REFERENCE = 'reference'
SIDES = ('a', 'b')
# the test images of both selections, of one, and the config's own
TESTS = ('both', *SIDES, 'val')
# AP over all sizes is a wMAP with one group
METRICS = {'AP': ((0, 1e10), ), 'wMAP': COCO_AREAS}


class ABTest:
    """Trains and evaluates all models of an A/B test.

    Each selection is split at random, again for each repetition, into images
    to train on and images to test on (90/10 in the paper). A model is trained
    from scratch on the reference set and the training images of A, another
    one, with the same seed, on those of B. Both and the reference model are
    tested on the test images of A and B together, on those of A, on those of
    B, and on the validation set of the config.

    The work folder holds ``results.json``; ``reference`` and ``split_NN/a``
    and ``b`` with ``labelled.json`` and ``model/weights.pth``; and the test
    sets ``split_NN/test_<set>.json``. A finished training or evaluation is
    not repeated.

    Args:
        cfg (Config): An mmdet config with a COCO data set, whose folder has
            the images of all files, and a ``work_dir``.
        reference (str): COCO json of the reference model's labelled set.
        selections (sequence[str]): Two COCO jsons of equally many other
            images, or two ``selected.json`` of queries.
        pool (str, optional): For the latter: COCO json with all annotations.
        splits (int): Repetitions; later ones can be added.
        fraction (float): The part of a selection that is tested on.
        seed (int): Of splits and trainings.
        checkpoint (str, optional): The reference model; trained from
            ``reference`` when None.
        resume (bool): Go on with what is in ``work_dir``.

    Raises:
        FileNotFoundError, ValueError: If a file is missing or wrong.
    """

    def __init__(self,
                 cfg: Config,
                 reference: str,
                 selections: Sequence[str],
                 pool: Optional[str] = None,
                 splits: int = 3,
                 fraction: float = 0.1,
                 seed: int = 0,
                 checkpoint: Optional[str] = None,
                 resume: bool = False) -> None:
        if splits < 1:
            raise ValueError(f'splits is {splits}: repeat at least once.')
        self.cfg = plain_config(cfg)
        self.work = WorkDir(osp.abspath(cfg.work_dir))
        self.reference = load_coco(reference)
        coco = None if pool is None else load_coco(pool)
        self.selections = [load_selection(s, coco) for s in selections]
        self.checkpoint = checkpoint
        self.seed = seed
        self.fraction = fraction
        self.resume = resume
        names = [by_name(s) for s in self.selections]
        self.splits = [
            ab_split(*names, fraction, seed, n) for n in range(splits)
        ]
        self.dataset = innermost_dataset(self.cfg.train_dataloader.dataset)

    @property
    def results_file(self) -> str:
        """Where the metrics of each model and test set are."""
        return osp.join(self.work.path, 'results.json')

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Images and boxes of both selections."""
        return [(len(s.images), s.num_boxes) for s in self.selections]

    def check_names(self, classes: Sequence[str]) -> None:
        """Raise a ValueError if a class is not one of the data set's."""
        known = classes_of(self.dataset)
        unknown = [c for c in classes if c not in known]
        if unknown:
            raise ValueError(f'there is no class {unknown[0]!r}: the classes '
                             f'are {", ".join(known)}.')

    def run(self) -> dict:
        """Train and evaluate.

        Returns:
            dict: Content of ``results.json``: :func:`key` to metrics, each
            with ``overall`` and ``classes``; None where there is no object.

        Raises:
            FileNotFoundError, ValueError: If a file or a setting is wrong,
                found before training.
        """
        try:
            return self._run()
        finally:
            release_lease(self.work)

    def _run(self) -> dict:
        setup_dist(self.cfg.get('launcher', 'none'))
        init_default_scope(self.cfg.get('default_scope') or 'mmdet')
        on_main(self._check)
        on_main(lambda: lock_training_dir(self.work, self._fingerprint(),
                                          self.resume))
        repetitions = range(len(self.splits))
        models = [(REFERENCE, 0),
                  *((side, n) for n in repetitions for side in SIDES)]
        for model, number in models:
            weights = self._train(model, number)
            # the one reference model is tested on the images of all splits
            numbers = repetitions if model == REFERENCE else [number]
            tests = {key(model, n, test): (n, test)
                     for n in numbers for test in TESTS}
            done = on_main(self._results)
            tests = {k: v for k, v in tests.items() if k not in done}
            if tests:
                detector = load_detector(self.cfg, weights)
                for name, (n, test) in tests.items():
                    metrics = self._evaluate(detector, n, test)
                    # written one by one: an interruption loses one at most
                    on_main(lambda new={name: metrics}: write_json(
                        self.results_file, {**self._results(), **new},
                        indent=1))
        return on_main(self._results)

    def _check(self) -> None:
        """Find what is wrong before the first of many trainings."""
        if not self.cfg.get('val_dataloader'):
            raise ValueError(
                f'{self.cfg.filename} has no val_dataloader: without it no '
                'model can be tested.')
        sizes = [len(s.images) for s in self.selections]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f'the selections have {sizes[0]:,} and {sizes[1]:,} images: '
                'they are compared at equal size; leave some out.')
        for coco in (self.reference, *self.selections):
            check_training_data(coco, self.dataset, self.dataset)
        for selection in self.selections:
            check_disjoint(self.reference, selection)
        check_val(self.cfg)
        check_model(self.cfg, self.dataset)
        if self.checkpoint:
            load_detector(self.cfg, self.checkpoint)

    def _fingerprint(self) -> dict:
        """All that decides the results, for a resumed test to compare."""
        content = dict(
            fingerprint(self.cfg),
            seed=self.seed,
            fraction=self.fraction,
            processes=get_world_size(),
            checkpoint=None)
        if self.checkpoint:
            with open(split_sha256(self.checkpoint)[0], 'rb') as f:
                content['checkpoint'] = hashlib.sha256(f.read()).hexdigest()
        # hashes of what is in the files: where they lie does not matter
        for name, coco in zip((REFERENCE, *SIDES),
                              (self.reference, *self.selections)):
            file = coco.subset(coco.ids, coco.annotations_of(coco.ids))
            content[name] = hashlib.sha256(repr(file).encode()).hexdigest()
        return content

    def _results(self) -> dict:
        path = self.results_file
        return read_json(path) if osp.exists(path) else {}

    def _train(self, model: str, number: int) -> str:
        """Train one model, unless that is done; returns its weights."""
        if model == REFERENCE and self.checkpoint:
            return self.checkpoint
        parts = [(self.reference, by_name(self.reference))]
        if model == REFERENCE:
            folder = osp.join(self.work.path, REFERENCE)
        else:
            folder = osp.join(self.work.path, split_name(number), model)
            side = SIDES.index(model)
            parts.append(
                (self.selections[side], self.splits[number].train[side]))
        files = MemberDir(osp.join(folder, 'model'))
        if not is_trained(files):
            print_log(f'Training {folder}.', 'current')
            on_main(lambda: write_json(files.labelled, joined(parts)))
        settings = Settings(
            data=dict(ann_file=files.labelled),
            budget=dict(size=1),
            seed=self.seed)
        cfg = copy.deepcopy(self.cfg)
        cfg.work_dir = osp.dirname(files.path)  # loggers are named by it
        # seeds: the reference is round 0, A and B of a repetition are equal
        round = 0 if model == REFERENCE else number + 1
        train_to_weights(cfg, settings, round, files)
        return files.weights

    def _evaluate(self, model: nn.Module, number: int, test: str) -> dict:
        """Metrics of a detector on one test set, of :data:`TESTS`."""
        val = innermost_dataset(self.cfg.val_dataloader.dataset)
        if test == 'val':
            return evaluate(model, self.cfg, val)
        parts = list(zip(self.selections, self.splits[number].test))
        if test in SIDES:
            parts = [parts[SIDES.index(test)]]
        # the reference gives the categories, in the order of its file, and
        # no image
        parts = [(self.reference, ()), *parts]
        path = osp.join(self.work.path, split_name(number),
                        f'test_{test}.json')
        on_main(lambda: write_json(path, joined(parts)))
        where = {k: self.dataset[k] for k in ('data_root', 'data_prefix')
                 if k in self.dataset}
        return evaluate(model, self.cfg, {**val, **where, 'ann_file': path})


def split_name(number: int) -> str:
    """What a repetition, from 0, is called in files."""
    return f'split_{number + 1:02d}'


def key(model: str, number: int, test: str) -> str:
    """Where ``results.json`` has the metrics of a model.

    Args:
        model (str): 'reference', 'a' or 'b'.
        number (int): The repetition, from 0.
        test (str): One of :data:`TESTS`.

    Examples:
        >>> key('a', 0, 'both'), key('reference', 2, 'val')
        ('split_01/a/both', 'reference/val')
    """
    if model == REFERENCE and test == 'val':  # the same in all repetitions
        return f'{REFERENCE}/val'
    return f'{split_name(number)}/{model}/{test}'


def ab_tables(results: dict,
              splits: int,
              names: Sequence[str] = ('A', 'B'),
              classes: Optional[Sequence[str]] = None,
              metric: str = 'AP',
              tests: Sequence[str] = TESTS) -> list[PlainTable]:
    """Table V: relative changes over the reference model, in percent.

    Args:
        results (dict): What :meth:`ABTest.run` returned.
        splits (int): How many repetitions to take the mean over.
        names (sequence[str]): What to call A and B.
        classes (sequence[str], optional): Classes to show. Default: all.
        metric (str): 'AP' or 'wMAP'.
        tests (sequence[str]): Test sets, of :data:`TESTS`; a table for each.
    """
    if classes is None:
        classes = results[key(REFERENCE, 0, 'val')][metric]['classes']
    titles = dict(
        both=f'test images of {names[0]} and {names[1]}',
        a=f'test images of {names[0]} alone',
        b=f'test images of {names[1]} alone',
        val='validation set')
    tables = []
    for test in tests:
        rows = []
        for name in (None, *classes):  # None: all classes together
            values = {}
            for model in (REFERENCE, *SIDES):
                metrics = [results[key(model, n, test)][metric]
                           for n in range(splits)]
                values[model] = [m['overall'] if name is None
                                 else m['classes'][name] for m in metrics]
            changes = tuple(
                spread(list(map(relative_change, values[side],
                                values[REFERENCE]))) for side in SIDES)
            label = 'all classes' if name is None else name
            rows.append(ABRow(label, spread(values[REFERENCE]), changes))
        title = (f'{metric}, change over the reference in percent, '
                 f'{titles[test]} ({splits} splits)')
        tables.append(ab_table(rows, names, title))
    return tables


def load_detector(cfg: Config, path: str) -> nn.Module:
    """A detector with the weights of a checkpoint, in eval mode, on the GPU
    where there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not fit the config.
    """
    model = revert_sync_batchnorm(build_model(cfg))
    load_weights(model, path, cfg.filename)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return model.to(device).eval()


@torch.no_grad()
def evaluate(model: nn.Module, cfg: Config, dataset: dict) -> dict:
    """AP and wMAP of a detector, not rounded.

    Args:
        model (nn.Module): In eval mode.
        cfg (Config): Its config; tells how to load images.
        dataset (dict): Config of a COCO data set.

    Returns:
        dict: 'AP' and 'wMAP', each ``dict(overall=…, classes={name: …})``,
        in [0, 1] or None without an object.
    """
    dataset = dict(dataset, pipeline=test_pipeline(cfg), test_mode=True)
    with quiet_log(), full_precision():
        loader = Runner.build_dataloader(
            dict(cfg.val_dataloader, dataset=dataset))
        path = absolute(dataset, dataset['ann_file'])
        evaluator = Evaluator([
            dict(type='mmal.SizeWeightedCocoMetric', ann_file=path,
                 classwise=True, area_ranges=areas, prefix=name)
            for name, areas in METRICS.items()
        ])
        evaluator.dataset_meta = loader.dataset.metainfo
        for batch in loader:
            evaluator.process(model.test_step(batch), batch)
        metrics = evaluator.evaluate(len(loader.dataset))
    classes = loader.dataset.metainfo['classes']
    return {
        name: dict(
            overall=metrics.get(f'{name}/bbox_wMAP'),
            classes={c: metrics.get(f'{name}/{c}_wMAP') for c in classes})
        for name in METRICS
    }

"""A run that waits for people, for tests with the tools that they label
in."""
from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from helpers.tiny import tiny_config
from mmal.commands import main
from mmal.engine import ActiveLearner
from mmal.fileio import read_json, write_json
from mmal.pool import LabelsPending
from mmal.pool.layout import WorkDir

#: Low enough for the little detector to have boxes.
SCORE_THR = 0.1


def waiting_run(root: Path) -> Path:
    """A run that has trained on six images and waits for five more.

    Args:
        root (Path): Gets its work folder ``work``, its config ``tiny.py``,
            the photos in ``data/images``, and ``full.json`` with all boxes.

    Returns:
        Path: The same.
    """
    cfg = tiny_config(str(root / 'data'), epochs=20)
    cfg.train_cfg.val_interval = 20
    pool = read_json(str(root / 'data' / 'pool.json'))
    write_json(str(root / 'full.json'), pool)
    write_json(str(root / 'data' / 'pool.json'), dict(pool, annotations=[]))
    cfg.active_learning = dict(
        data=dict(ann_file='pool.json'), initial=dict(size=6), rounds=2,
        budget=dict(size=5), oracle=dict(type='mmal.ManualOracle'),
        score_dataloader=dict(batch_size=2, num_workers=0))
    cfg.work_dir = str(root / 'work')
    cfg.dump(str(root / 'tiny.py'))
    labels = WorkDir(cfg.work_dir).labels
    with DefaultScope.overwrite_default_scope('mmdet'):
        for answered in (False, True):
            if answered:
                names = {i['id'] for i in read_json(labels.request)['images']}
                write_json(labels.labels, dict(
                    pool, confirm_empty=True,
                    images=[i for i in pool['images'] if i['id'] in names],
                    annotations=[a for a in pool['annotations']
                                 if a['image_id'] in names]))
            with pytest.raises(LabelsPending):
                ActiveLearner(copy.deepcopy(cfg), resume=answered).run()
    return root


def run_mmal(capsys: pytest.CaptureFixture, *argv: object, ends: int = 0,
             note: Callable[[str], None] = lambda line: None) -> str:
    """Run ``mmal``, which must end with a status.

    Args:
        capsys (pytest.CaptureFixture): Of the test.
        *argv: Its arguments.
        ends (int): The status.
        note (callable): Takes the command and each line that it prints.

    Returns:
        str: What it writes to the standard output.
    """
    capsys.readouterr()
    status = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    note(f'$ mmal {" ".join(map(str, argv))} -> {status}')
    for line in (out + err).splitlines():
        note(f'    {line}')
    assert status == ends, out + err
    return out


def predicted(run: Path) -> dict[str, np.ndarray]:
    """Boxes of each requested image by its name, as :func:`table` has them,
    from the file that the query has written."""
    work = WorkDir(str(run))
    names = {i['id']: i['file_name']
             for i in read_json(work.labels.request)['images']}
    rows = read_json(work.round(0).predictions)
    return {name: table(
        [*r['bbox'], r['score'], r['category_id'] - 1] for r in rows
        if r['image_id'] == i and r['score'] >= SCORE_THR)
        for i, name in names.items()}


def labelled(path: str) -> dict[str, np.ndarray]:
    """Boxes of each image of a COCO file by its name, as :func:`table` has
    them, with score 0."""
    content = read_json(path)
    classes = {c['id']: int(c['name'].removeprefix('class_'))
               for c in content['categories']}
    return {image['file_name']: table(
        [*a['bbox'], 0, classes[a['category_id']]]
        for a in content['annotations'] if a['image_id'] == image['id'])
        for image in content['images']}


def table(rows: Iterable[Sequence[float]]) -> np.ndarray:
    """Sorted boxes [n, 6]: x, y, width, height in pixels, score, class."""
    rows = sorted(map(list, rows))
    return np.array(rows, float).reshape(len(rows), 6)

"""Work folders with a detector that nobody had to train, and requests."""
import json
import os

import torch

from helpers.tiny import tiny_config, tiny_fcos
from mmal.fileio import write_json
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, Record

CLASSES = ('class_0', 'class_1', 'class_2')


def served_run(root, model=None, model_config=None, cfg=None):
    """Write the tiny data set and a run whose round has these weights.

    Args:
        root (str): Gets ``data`` and ``work``.
        model (nn.Module, optional): Default: the untrained FCOS that detects.
        model_config (dict, optional): Its config.
        cfg (Config, optional): In place of the tiny one, with its data.

    Returns:
        str: The work folder.
    """
    cfg = cfg or tiny_config(os.path.join(root, 'data'))
    cfg.active_learning = dict(
        data=dict(ann_file='pool.json'), initial=dict(size=4), rounds=3,
        budget=dict(size=3), oracle=dict(type='mmal.ManualOracle'))
    if model_config is not None:
        cfg.model = model_config
    work = WorkDir(os.path.join(root, 'work'))
    cfg.work_dir = work.path
    os.makedirs(work.path)
    cfg.dump(work.config)
    train(work.path, 0, model)
    return work.path


def train(run, number, model=None):
    """End a round of such a run, as if it were trained."""
    work = WorkDir(run)
    folder = work.round(number)
    os.makedirs(folder.path)
    with open(work.config) as f, open(folder.config, 'w') as copy:
        copy.write(f.read())
    torch.save(dict(meta={}, state_dict=(model or tiny_fcos()).state_dict()),
               os.path.join(folder.path, 'epoch_1.pth'))
    Curve([Record(n, 4 + 3 * n, 5, {}) for n in range(number + 1)],
          'rounds').save(work.curve)


def labeling_config(classes=CLASSES, value='$image', extra=''):
    """A labeling config as people write it."""
    labels = ''.join(f'<Label value="{c}"/>' for c in classes)
    return (f'<View>{extra}<Image name="photo" value="{value}"/>'
            f'<RectangleLabels name="boxes" toName="photo">{labels}'
            '</RectangleLabels></View>')


def prediction_request(*addresses, **others):
    """What Label Studio sends to ``/predict``."""
    tasks = [dict(id=n, data=dict(image=a), annotations=[], predictions=[])
             for n, a in enumerate(addresses)]
    return {**dict(tasks=tasks, project='1.1700000000',
                   label_config=labeling_config(),
                   params=dict(login=None, password=None, context=None)),
            **others}


def pool_json(path, names):
    """Write a pool of 40 x 20 images without annotations."""
    write_json(path, dict(
        images=[dict(id=100 - n, file_name=name, width=40, height=20)
                for n, name in enumerate(names)],
        annotations=[],
        categories=[dict(id=n + 1, name=c) for n, c in enumerate(CLASSES)]))
    return path


def pool_names(run):
    """File name -> id, width, height of the images of the pool."""
    path = os.path.join(os.path.dirname(run), 'data', 'pool.json')
    with open(path) as f:
        return {i['file_name']: i for i in json.load(f)['images']}

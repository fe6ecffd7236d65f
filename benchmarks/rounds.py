"""What a run of many rounds leaves behind in its process and on the disk.

    OMP_NUM_THREADS=1 python benchmarks/rounds.py [--rounds 200]

A tiny detector is trained for one iteration a round, with a worker that loads
images, is validated, and the entropy chooses one image. All rounds are those
of one process. After rounds 1, 10, 50, 100 and 200 the table gives:

handles       open file handles
RSS           resident memory in MB
objects       python objects that the garbage collector knows, after it ran
loggers, hubs, visualizers, figures
              objects of these kinds (mmengine's and matplotlib's)
threads       of python
seconds       a round, the mean since the row before
CPU           CPU seconds a round, those of workers included
KB round      on the disk in the round's folder, without its checkpoints
KB run        on the disk beside the folders of the rounds

The last line gives the slope of memory and objects over the later half of the
rounds.
"""
import argparse
import contextlib
import gc
import logging
import os
import os.path as osp
import sys
import tempfile
import threading
import time
import warnings

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
sys.path[:0] = [ROOT, osp.join(ROOT, 'tests')]

from helpers.runs import make_config  # noqa: E402
from helpers.tiny import tiny_coco  # noqa: E402

from mmal.engine import ActiveLearner  # noqa: E402
from mmal.engine.cli import prepare_process  # noqa: E402

SHOWN = (1, 10, 50, 100, 200, 400, 800)
KINDS = dict(loggers=MMLogger, hubs=MessageHub, visualizers=Visualizer,
             figures=Figure)
COLUMNS = ('round', 'handles', 'RSS', 'objects', *KINDS, 'threads', 'seconds',
           'CPU', 'KB round', 'KB run')
WIDTH = {column: max(8, len(column) + 2) for column in COLUMNS}


def resident_memory():
    """Resident memory in MB."""
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6


def kilobytes(folder, below=True):
    """Size of the files of a folder, but checkpoints."""
    return sum(
        osp.getsize(osp.join(place, name))
        for place, _, names in os.walk(folder) for name in names
        if not name.endswith('.pth') and (below or place == folder)) / 1e3


class MeasuredLearner(ActiveLearner):
    """Prints a row of the table after some rounds."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.memory, self.objects = [], []
        self.clocks, self.since = self.now(), 0
        print(''.join(f'{c:>{WIDTH[c]}}' for c in COLUMNS), flush=True)

    def now(self):
        return np.array([time.perf_counter(), sum(os.times()[:4])])

    def _run_round(self):
        folder = self.work.round(self.state.round).path
        super()._run_round()
        gc.collect()
        objects = gc.get_objects()
        self.memory.append(resident_memory())
        self.objects.append(len(objects))
        done = len(self.memory)
        if done not in SHOWN and self.state.stopped is None:
            return
        seconds, cpu = (self.now() - self.clocks) / (done - self.since)
        # type(), for some objects that are looked at pretend to be others
        kinds = [sum(issubclass(type(o), kind) for o in objects)
                 for kind in KINDS.values()]
        row = (done, len(os.listdir('/proc/self/fd')),
               f'{self.memory[-1]:.1f}', len(objects), *kinds,
               threading.active_count(), f'{seconds:.2f}', f'{cpu:.2f}',
               f'{kilobytes(folder):.1f}',
               f'{kilobytes(self.work.path, below=False):.1f}')
        print(''.join(f'{v:>{WIDTH[c]}}' for c, v in zip(COLUMNS, row)),
              flush=True)
        self.clocks, self.since = self.now(), done

    def slopes(self):
        """MB and objects a round, over the later half of the rounds."""
        half = len(self.memory) // 2
        return [np.polyfit(range(len(v) - half), v[half:], 1)[0]
                for v in (self.memory, self.objects)]


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=200)
    args = parser.parse_args(argv)
    warnings.simplefilter('ignore')
    # how long torch waits for a worker that an endless sampler keeps busy
    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = .1
    cv2.setNumThreads(0)
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        # of one size: what libraries keep for each shape of a batch, megabytes
        # at a time, would hide what a round leaves
        tiny_coco(osp.join(folder, 'data'), images=args.rounds + 20, val=2,
                  size=(64, 64))
        cfg = Config.fromfile(make_config(
            folder,
            log_level='ERROR',
            active_learning=dict(
                rounds=args.rounds, budget=dict(size=1, unit='images'),
                scorer=dict(type='mmal.EntropyScorer')),
            train_cfg=dict(_delete_=True, type='IterBasedTrainLoop',
                           max_iters=1, val_interval=1),
            train_dataloader=dict(sampler=dict(type='InfiniteSampler')),
            default_hooks=dict(checkpoint=dict(by_epoch=False))))
        cfg.work_dir = osp.join(folder, 'work')
        learner = MeasuredLearner(cfg)
        for handler in learner.logger.handlers:  # the table is enough
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.ERROR)
        with open(os.devnull, 'w') as nowhere, \
                contextlib.redirect_stderr(nowhere):  # bars of the scoring
            learner.run()
        memory, objects = learner.slopes()
        print(f'{1e3 * memory:.1f} KB and {objects:.1f} objects a round over '
              'the later half of the rounds')


if __name__ == '__main__':
    main()

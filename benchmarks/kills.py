"""Runs that are killed at random moments against a run that is not.

    python benchmarks/kills.py [--kills 50] [--seed 0] [--kinds isal people]

A tiny detector is trained with active learning in processes of its own
(``tools/al_train.py --resume``), once without and then with SIGKILLs of the
whole process group, until all kills are spent. The time of the next kill is
uniform over the duration of the undisturbed run; a run that is killed is
started again until it is done. Three kinds of runs share the kills:

isal      influence selection, training by epochs
ensemble  three detectors, k-means++ over embeddings
people    labels come through files whenever the run asks for them, and those
          of earlier rounds are corrected; training by iterations, with a
          worker that loads images

At its end every run must have the files of the undisturbed one with the same
content: ids, scores, labels and metrics equal, weights and states of the
optimizer bit by bit. Times, logs and drawings are left out. For each kind the
table gives the kills, those of them after the process had taken the work
folder (the others hit its imports, or the dry run before the first round),
and how many runs differ in what. The status is 1 if any does.
"""
import argparse
import copy
import hashlib
import os
import os.path as osp
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np
import torch

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
sys.path[:0] = [ROOT, osp.join(ROOT, 'tests')]

from helpers.runs import ISAL, TRAIN, make_config  # noqa: E402
from helpers.tiny import tiny_coco  # noqa: E402

from mmal.compat.checkpoints import load_checkpoint  # noqa: E402
from mmal.fileio import read_json, write_json  # noqa: E402
from mmal.pool.layout import WorkDir  # noqa: E402

LABELS_PENDING = 3  # the status of a run that waits for people
KINDS = {
    'isal': dict(
        active_learning=dict(rounds=5, initial=dict(size=8), scorer=ISAL),
        train_cfg=dict(max_epochs=6, val_interval=6)),
    'ensemble': dict(
        active_learning=dict(
            rounds=4,
            initial=dict(size=4),
            scorer=dict(type='mmal.MutualInformationScorer'),
            committee=dict(type='mmal.EnsembleCommittee', size=3),
            selector=dict(type='mmal.KMeansPlusPlus')),
        train_cfg=dict(max_epochs=3, val_interval=3)),
    'people': dict(
        active_learning=dict(
            rounds=3,
            initial=dict(size=8),
            scorer=dict(type='mmal.EntropyScorer'),
            oracle=dict(type='mmal.ManualOracle')),
        train_cfg=dict(
            _delete_=True, type='IterBasedTrainLoop', max_iters=48,
            val_interval=24),
        train_dataloader=dict(sampler=dict(type='InfiniteSampler')),
        default_hooks=dict(checkpoint=dict(interval=8, by_epoch=False))),
}
# what a difference is counted as, by the name of the file
COLUMNS = {
    'selected': r'selected\.json', 'labelled': r'labelled\.json',
    'scores': r'scores\.npz|embeddings.*\.npy', 'curve': r'curve\.json',
    'state': r'state\.json', 'weights': r'.*\.pth', 'others': r'.*'}
LOGS = re.compile(r'\d{8}_\d{6}')  # mmengine's folder of one start
# they have times, or what was resumed from
BY_NAME_ALONE = re.compile(r'.*\.(log|html|png|py)|last_checkpoint')


@dataclass
class Outcome:
    """One run that was killed.

    Args:
        kills (int): How often.
        at_work (int): How often after the process had taken the folder.
        moments (list[str]): The newest file of the folder at each kill.
        differences (list[str]): Files that are not as in the undisturbed run.
        failure (str): How it ended, if it was not done.
    """
    kills: int = 0
    at_work: int = 0
    moments: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    failure: str = ''


class Runs:
    """The runs of one kind.

    Args:
        kind (str): A key of ``KINDS``.
        folder (str): For the data set and the work folders.
    """

    def __init__(self, kind, folder):
        self.folder = folder
        data = tiny_coco(osp.join(folder, 'data'), images=40)
        pool = osp.join(data, 'pool.json')
        self.truth = read_json(pool)  # what people would draw
        changes = copy.deepcopy(KINDS[kind])
        block = changes['active_learning']
        block['budget'] = dict(size=4, unit='images')
        if 'oracle' in block:
            write_json(pool, dict(self.truth, annotations=[]))
        self.config = make_config(folder, **changes)
        self.whole = osp.join(folder, 'whole')
        start = time.monotonic()
        status, _ = self.go_on(self.whole, 3600)
        if status != 0:
            raise RuntimeError(f'the undisturbed run ended with {status}, see '
                               f'{self.whole}.log')
        self.seconds = time.monotonic() - start

    def go_on(self, work_dir, limit):
        """Start a run, or go on with it, until it ends or is killed.

        Args:
            work_dir (str): Its folder; what it prints goes beside it.
            limit (float): Seconds after which it is killed.

        Returns:
            tuple[int | None, int]: The exit status, None after a kill, and
            the id of the last process.
        """
        end = time.monotonic() + limit
        command = [sys.executable, TRAIN, self.config, '--work-dir', work_dir,
                   '--resume']
        env = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
        while True:
            with open(f'{work_dir}.log', 'a') as log:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=env, stdout=log, stderr=log,
                    start_new_session=True)
            try:
                status = process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                status = None
            finally:  # with the workers that it may have
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if status != LABELS_PENDING:
                return status, process.pid
            self.label(work_dir)

    def label(self, work_dir):
        """Label what a run asks for, and correct what was labelled before.

        With every round the boxes of an image get a pixel narrower, so that
        labels of another round than the right one are seen.
        """
        rounds = read_json(WorkDir(work_dir).state)['rounds']
        age = {i: len(rounds) - 1 - number
               for number, r in enumerate(rounds) for i in r['ids']}
        annotations = []
        for a in self.truth['annotations']:
            if a['image_id'] in age:
                x, y, width, height = a['bbox']
                width -= age[a['image_id']]
                annotations.append(dict(
                    a, bbox=[x, y, width, height], area=width * height))
        write_json(
            WorkDir(work_dir).labels.labels,
            dict(self.truth, annotations=annotations, confirm_empty=True,
                 images=[i for i in self.truth['images'] if i['id'] in age]))

    def killed_run(self, name, moments, most):
        """Kill a run again and again until it is done.

        Args:
            name (str): Of its folder.
            moments (random.Random): Where the moments come from.
            most (int): Kills; after the last one it runs to its end.
        """
        work_dir, outcome = osp.join(self.folder, name), Outcome()
        while True:
            may_kill = outcome.kills < most
            status, pid = self.go_on(
                work_dir, moments.uniform(0, self.seconds) if may_kill else
                600 + 20 * self.seconds)
            if status is not None or not may_kill:
                break
            outcome.kills += 1
            outcome.moments.append(newest_file(work_dir))
            lease = WorkDir(work_dir).lease
            outcome.at_work += osp.exists(lease) and \
                read_json(lease)['pid'] == pid
        if status == 0:
            outcome.differences = differences(work_dir, self.whole)
        else:
            outcome.failure = 'it hangs' if status is None else \
                f'status {status}'
        return outcome


def newest_file(folder):
    """The file written last, relative to the folder; '' if there is none."""
    paths = [osp.join(place, name) for place, _, names in os.walk(folder)
             for name in names]
    return osp.relpath(max(paths, key=lambda p: os.stat(p).st_mtime_ns),
                       folder) if paths else ''


def without_times(content):
    """JSON without the entries that tell how long something took."""
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items()
                if not key.endswith('seconds')}
    if isinstance(content, list):
        return [without_times(value) for value in content]
    return content


def hash_state(content):
    """A hash of nested tensors, numbers and texts, bit by bit."""
    result = hashlib.sha256()

    def add(value):
        if torch.is_tensor(value):
            array = value.detach().contiguous().view(-1).view(torch.uint8)
            result.update(f'{value.dtype} {tuple(value.shape)}'.encode())
            result.update(array.numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                add(key)
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for entry in value:
                add(entry)
        else:
            result.update(repr(value).encode())

    add(content)
    return result.hexdigest()


def content_of(path):
    """What must not depend on kills in a file."""
    if BY_NAME_ALONE.fullmatch(osp.basename(path)):
        return None
    if path.endswith('.json'):
        return without_times(read_json(path))
    if path.endswith('.npz'):
        with np.load(path) as arrays:
            return {key: (str(a.dtype), a.shape, a.tobytes())
                    for key, a in arrays.items()}
    if path.endswith('.pth'):
        checkpoint = load_checkpoint(path)
        # beside these it has the log of losses and times
        kept = ('state_dict', 'optimizer', 'param_schedulers')
        return hash_state({key: checkpoint[key] for key in kept
                           if key in checkpoint})
    with open(path, 'rb') as f:
        return f.read()


def contents(work_dir):
    """Relative path -> :func:`content_of` of all files of a run."""
    files = {}
    for place, folders, names in os.walk(work_dir):
        folders[:] = [f for f in folders if not LOGS.fullmatch(f)]
        for name in names:
            path = osp.join(place, name)
            files[osp.relpath(path, work_dir)] = content_of(path)
    return files


def differences(work_dir, whole):
    """Files of two runs that are not the same, or in one of them alone."""
    ours, theirs = contents(work_dir), contents(whole)
    missing = object()
    return sorted(
        path for path in ours.keys() | theirs.keys()
        if ours.get(path, missing) != theirs.get(path, missing))


def column_of(path):
    """What the difference of a file is counted as."""
    return next(column for column, pattern in COLUMNS.items()
                if re.fullmatch(pattern, osp.basename(path)))


def table(outcomes):
    """Kind -> outcomes, as text."""
    lines = [f'{"":10}{"runs":>6}{"kills":>7}{"at work":>9}   runs that '
             f'differ in\n{"":35}'
             + ''.join(f'{c:>10}' for c in (*COLUMNS, 'failed'))]
    for kind, runs in outcomes.items():
        counts = [sum(any(column_of(p) == c for p in r.differences)
                      for r in runs) for c in COLUMNS]
        counts.append(sum(bool(r.failure) for r in runs))
        lines.append(
            f'{kind:10}{len(runs):6}{sum(r.kills for r in runs):7}'
            f'{sum(r.at_work for r in runs):9}   '
            + ''.join(f'{n:10}' for n in counts))
    return '\n'.join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=50,
                        help='SIGKILLs, shared by the kinds')
    parser.add_argument('--seed', type=int, default=0,
                        help='of the moments')
    parser.add_argument('--kinds', nargs='+', choices=KINDS,
                        default=list(KINDS))
    parser.add_argument('--folder', help='where the runs stay; by default '
                        'they are deleted')
    args = parser.parse_args(argv)
    outcomes = {}
    with tempfile.TemporaryDirectory() as temporary:
        for n, kind in enumerate(args.kinds):
            left = args.kills * (n + 1) // len(args.kinds) - \
                args.kills * n // len(args.kinds)
            runs = Runs(kind, osp.join(args.folder or temporary, kind))
            print(f'{kind}: {runs.seconds:.0f} s undisturbed', flush=True)
            moments = random.Random(f'{kind} {args.seed}')
            outcomes[kind] = []
            while left > 0:
                name = f'killed_{len(outcomes[kind]) + 1:02d}'
                outcome = runs.killed_run(name, moments, left)
                left -= outcome.kills
                outcomes[kind].append(outcome)
                result = outcome.failure or \
                    ', '.join(outcome.differences) or 'the same'
                print(f'{kind} {name}: {outcome.kills} kills after '
                      f'{", ".join(m or "nothing" for m in outcome.moments)}'
                      f': {result}', flush=True)
        print('\n' + table(outcomes))
    return int(any(r.failure or r.differences
                   for runs in outcomes.values() for r in runs))


if __name__ == '__main__':
    sys.exit(main())

"""First rounds that are trained once for all runs they are equal in.

Two methods that begin with the same images, seed and schedule train the same
detector in their first round, and differ only in what they choose with it.
"""
from __future__ import annotations

import hashlib
import logging
import os
import os.path as osp
import shutil
from contextlib import suppress
from typing import Any, Optional
from uuid import uuid4

from mmengine.config import Config
from mmengine.logging import print_log

from mmal.fileio import read_json, write_bytes, write_json
from mmal.pool import DataRecord
from mmal.pool.layout import RoundDir
from .environment import environment
from .fingerprint import digest, fingerprint

_INFO = 'training.json'
# Of the block all that a training knows: its seed and the pool's folders.
# Which images it begins with is asked of labelled.json.
_TRAINED_BY = ('active_learning.seed', 'active_learning.data.')


def training_fingerprint(cfg: Config) -> dict[str, Any]:
    """What decides the first training of a run but for its images.

    Args:
        cfg (Config): The config of the run.

    Returns:
        dict: The part of :func:`~mmal.engine.fingerprint.fingerprint` that
        does not belong to a method of choosing images.
    """
    return {
        key: value for key, value in fingerprint(cfg).items()
        if not key.startswith('active_learning.')
        or key.startswith(_TRAINED_BY)}


class SharedTrainings:
    """A folder of trainings that runs leave for each other.

    A training is found by a hash of all that decides it: the config but for
    the choice of images, the seed, ``labelled.json`` and the content of its
    image files, the validation labels, and the environment (versions,
    threads, processes, device). A run that takes one goes on as a run does
    that was killed right after that training.

    Entries are folders that get their name when they are whole, so any
    number of runs may use the folder at the same time.

    Args:
        path (str): The folder; made when the first training comes.
    """

    def __init__(self, path: str) -> None:
        self.path = osp.abspath(path)

    def key(self, cfg: Config, folder: RoundDir, data: DataRecord) -> str:
        """The name of a training.

        Args:
            cfg (Config): The config of the run.
            folder (RoundDir): Its first round, whose ``labelled.json`` is
                written.
            data (DataRecord): Its data, with the files of these images.
        """
        with open(folder.labelled, 'rb') as f:
            labelled = hashlib.sha256(f.read()).hexdigest()
        return digest(dict(
            config=training_fingerprint(cfg), environment=environment(cfg),
            labelled=labelled, data=data.digest('validation'),
            files=data.files_digest()))

    def take(self, key: str, folder: RoundDir) -> Optional[float]:
        """Put a training into the first round of a run.

        A round that has a checkpoint goes on with that.

        Args:
            key (str): Its name.
            folder (RoundDir): The round.

        Returns:
            float | None: The seconds that it took; None if there is no such
            training, or the round has begun its own.
        """
        entry = RoundDir(osp.join(self.path, key))
        if folder.checkpoints() or not osp.isdir(entry.path):
            return None
        try:
            seconds = float(read_json(osp.join(entry.path, _INFO))['seconds'])
            checkpoint = entry.latest_checkpoint()
            if checkpoint is None:
                raise ValueError('its checkpoint is damaged')
            # the checkpoint last: with it the round counts as trained
            for path in (entry.metrics, checkpoint):
                if osp.exists(path):
                    _link(path, osp.join(folder.path, osp.basename(path)))
        except (OSError, ValueError, KeyError, TypeError) as e:
            print_log(
                f'{entry.path} cannot be used ({type(e).__name__}: {e}): the '
                'round is trained.', 'current', logging.WARNING)
            return None
        return seconds

    def leave(self, key: str, folder: RoundDir, seconds: float) -> None:
        """Keep a training for other runs, unless one has done so.

        Args:
            key (str): Its name.
            folder (RoundDir): The round, which is trained and validated.
            seconds (float): How long that took.
        """
        final = osp.join(self.path, key)
        checkpoint = folder.latest_checkpoint()
        if checkpoint is None or osp.isdir(final):
            return
        draft = osp.join(self.path, f'.{key}.{uuid4().hex}.tmp')
        os.makedirs(draft)
        try:
            for path in (folder.metrics, checkpoint):
                if osp.exists(path):
                    _link(path, osp.join(draft, osp.basename(path)))
            write_json(osp.join(draft, _INFO), dict(seconds=seconds))
            # a run that was as fast has left the same
            with suppress(OSError):
                os.rename(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _link(path: str, name: str) -> None:
    """A second name of a file, or a copy where links cannot be.

    Checkpoints and metrics are never written in place, only replaced, so that
    a run cannot change the file of another one.
    """
    try:
        os.link(path, name)
    except FileExistsError:
        pass  # a run that was killed here before has the same
    except OSError:
        with open(path, 'rb') as f:
            write_bytes(name, f.read())

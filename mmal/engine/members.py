"""Training the other members of an ensemble, before the round's own model."""
from __future__ import annotations

import contextlib
import os
import os.path as osp
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmal.compat.checkpoints import is_readable_checkpoint, load_checkpoint
from mmal.dist import on_main
from mmal.fileio import atomic_write
from mmal.pool.layout import MemberDir, RoundDir
from .round_config import round_config
from .settings import Settings
from .training import trained


def train_members(cfg: Config, settings: Settings, number: int,
                  folder: RoundDir, count: int,
                  logger: MMLogger) -> Optional[float]:
    """Train members 1 to ``count`` of a round's ensemble.

    A trained one is left as it is, and one half trained goes on from its
    checkpoint. Of each only its weights remain, the averaged ones (EMAHook)
    if there are such, as validation uses them.

    Args:
        cfg (Config): The config of the run.
        settings (Settings): Its ``active_learning`` block.
        number (int): The round, from 0.
        folder (RoundDir): The round; its ``labelled.json`` is trained on.
        count (int): How many.
        logger (MMLogger): Is told which member is trained.

    Returns:
        float | None: Wall time of their trainings in seconds; None if an
        interruption made it unknown.
    """
    seconds = []
    for member in range(1, count + 1):
        files = folder.member(member)
        if not is_trained(files):
            checkpoint = on_main(files.latest_checkpoint)
            logger.info(
                f'Round {number}: training member {member} of the ensemble '
                f'in {files.path}' +
                (f', resumed from {checkpoint}' if checkpoint else ''))
        seconds.append(
            train_to_weights(cfg, settings, number, files, member))
    return None if None in seconds else sum(seconds, 0.0)


def is_trained(files: MemberDir) -> bool:
    """Whether a training is over; the same in every process."""
    return on_main(lambda: is_readable_checkpoint(files.weights))


def train_to_weights(cfg: Config, settings: Settings, number: int,
                     files: MemberDir, member: int = 1) -> Optional[float]:
    """Train without validation until only ``weights.pth`` remains.

    Args:
        cfg (Config): The config of the run.
        settings (Settings): Its ``active_learning`` block.
        number (int): The round, from 0; of the seed.
        files (MemberDir): Where; its ``labelled`` is trained on. What was
            trained there before is gone on with, or left as it is.
        member (int): The member, from 1; of the seed.

    Returns:
        float | None: Wall time in seconds; None if an interruption made it
        unknown.
    """
    if not is_trained(files):
        checkpoint = on_main(files.latest_checkpoint)
        with trained(
                round_config(cfg, settings, number, files, checkpoint,
                             member),
                f'round {number}, member {member}') as training:
            content = dict(
                meta=dict(seconds=None if checkpoint else training.seconds),
                state_dict=training.model.state_dict())

            def save() -> None:
                with atomic_write(files.weights) as f:
                    torch.save(content, f)

            on_main(save)

    def finish() -> Optional[float]:
        # the weights are whole by now: a kill on the way loses nothing
        for path in (*files.checkpoints(),
                     osp.join(files.path, 'last_checkpoint')):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return load_checkpoint(files.weights)['meta']['seconds']

    return on_main(finish)

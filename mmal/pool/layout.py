"""The work folder: which file is where."""
from __future__ import annotations

import os.path as osp
import re
from dataclasses import dataclass
from glob import glob
from typing import Optional

from mmal.compat.checkpoints import is_readable_checkpoint

_STEP = re.compile(r'^(?:epoch|iter)_(\d+)\.pth$')


@dataclass(frozen=True)
class RoundDir:
    """The files of one round.

    Args:
        path (str): The folder.
    """
    path: str

    @property
    def labelled(self) -> str:
        """COCO file the round trains on."""
        return osp.join(self.path, 'labelled.json')

    @property
    def unlabelled(self) -> str:
        """COCO file of the images to score; it has no annotations."""
        return osp.join(self.path, 'unlabelled.json')

    @property
    def candidates(self) -> str:
        """COCO file of the images to score where labelled ones are among
        them (``candidates='all'``); it has no annotations."""
        return osp.join(self.path, 'candidates.json')

    @property
    def repeats(self) -> str:
        """Labelled images that the round trains on more than once; there is
        no file where there are none."""
        return osp.join(self.path, 'repeats.json')

    @property
    def config(self) -> str:
        """The mmdet config of the round."""
        return osp.join(self.path, 'config.py')

    @property
    def metrics(self) -> str:
        """Validation metrics after training."""
        return osp.join(self.path, 'metrics.json')

    @property
    def scores(self) -> str:
        """Scores of the candidates."""
        return osp.join(self.path, 'scores.npz')

    @property
    def embeddings(self) -> str:
        """Embeddings of the candidates, in the order of the scores."""
        return osp.join(self.path, 'embeddings.npy')

    @property
    def embeddings_labelled(self) -> str:
        """Embeddings of the labelled images, in the order of their file."""
        return osp.join(self.path, 'embeddings_labelled.npy')

    @property
    def selected(self) -> str:
        """What was chosen for the next round."""
        return osp.join(self.path, 'selected.json')

    def member(self, number: int) -> MemberDir:
        """The folder of an ensemble's member, counted from 1.

        Member 0 is the round's own model.
        """
        return MemberDir(osp.join(self.path, f'member_{number:02d}'))

    def checkpoints(self) -> list[str]:
        """The checkpoints of the training, the newest first."""
        found = []
        for path in glob(osp.join(glob_escape(self.path), '*.pth')):
            match = _STEP.match(osp.basename(path))
            if match:
                found.append((int(match.group(1)), path))
        return [path for _, path in sorted(found, reverse=True)]

    def latest_checkpoint(self) -> Optional[str]:
        """The newest checkpoint that is whole, or None.

        mmengine's ``last_checkpoint`` is not trusted: a kill can leave it
        empty, or pointing to a file that is gone.
        """
        return next(filter(is_readable_checkpoint, self.checkpoints()), None)


@dataclass(frozen=True)
class MemberDir(RoundDir):
    """The files of one member of an ensemble, inside those of its round.

    Args:
        path (str): The folder.
    """

    @property
    def labelled(self) -> str:
        """COCO file the member trains on, that of the round."""
        return osp.join(osp.dirname(self.path), 'labelled.json')

    @property
    def repeats(self) -> str:
        """Images it trains on more than once, those of the round."""
        return osp.join(osp.dirname(self.path), 'repeats.json')

    @property
    def weights(self) -> str:
        """The trained member; it is there when the training is over."""
        return osp.join(self.path, 'weights.pth')


def glob_escape(path: str) -> str:
    """A path in which glob finds no wildcard."""
    return re.sub(r'([*?[])', r'[\1]', path)


@dataclass(frozen=True)
class WorkDir:
    """The files of a run.

    Args:
        path (str): The folder.
    """
    path: str

    @property
    def state(self) -> str:
        """The pool; the only truth on resume."""
        return osp.join(self.path, 'state.json')

    @property
    def config(self) -> str:
        """The config of the run."""
        return osp.join(self.path, 'config.py')

    @property
    def identity(self) -> str:
        """What the config hash was made of, to name differences."""
        return osp.join(self.path, 'identity.json')

    @property
    def curve(self) -> str:
        """Images, boxes and metrics of each round."""
        return osp.join(self.path, 'curve.json')

    @property
    def log(self) -> str:
        """The log of the active learning, beside the rounds' own."""
        return osp.join(self.path, 'active_learning.log')

    def round(self, number: int) -> RoundDir:
        """The folder of a round, counted from 0."""
        return RoundDir(osp.join(self.path, f'round_{number:02d}'))

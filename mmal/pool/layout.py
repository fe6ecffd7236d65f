"""The work folder: which file is where.

Nobody else spells the names of these files. A folder that is not there yet
has names too: nothing here is made or written.
"""
from __future__ import annotations

import os
import os.path as osp
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional

_STEP = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
_ROUND = re.compile(r'round_(\d+)')


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
    def labelled_renamed(self) -> str:
        """The labelled images of a single query by the names that the pool
        gives them; there is no file where they are the same."""
        return osp.join(self.path, 'labelled_renamed.json')

    @property
    def repeats(self) -> str:
        """How often labelled images were reselected, which repeats them in
        training; there is no file where none was."""
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

    @property
    def predictions(self) -> str:
        """What the round's detector finds on the chosen images, as COCO
        results; there is no file where a model predicts no boxes."""
        return osp.join(self.path, 'predictions.json')

    @property
    def class_boxes(self) -> str:
        """How many boxes of each class the round's detector expects on its
        candidates; there is no file where the scorer does not detect."""
        return osp.join(self.path, 'class_boxes.json')

    @property
    def selected_names(self) -> str:
        """File names of the images to label, best first; of a single
        query."""
        return osp.join(self.path, 'selected.txt')

    @property
    def reselected_names(self) -> str:
        """File names of the images that were reselected, best first; of a
        single query."""
        return osp.join(self.path, 'reselected.txt')

    def member(self, number: int) -> MemberDir:
        """The folder of an ensemble's member, counted from 1.

        Member 0 is the round's own model.
        """
        return MemberDir(osp.join(self.path, f'member_{number:02d}'))

    @property
    def interrupted(self) -> str:
        """Checkpoint of a training that was asked to stop, newer than any
        other; there is none when the training is over."""
        return osp.join(self.path, 'interrupted.pth')

    def checkpoints(self) -> list[str]:
        """The checkpoints of the training, the newest first."""
        # by number, for epoch_10 sorts before epoch_2 by name; best_*.pth are
        # copies of these
        steps = [
            (int(match[1]), osp.join(self.path, match[0]))
            for match in map(_STEP.fullmatch, _names_in(self.path)) if match
        ]
        newest = [self.interrupted] if osp.exists(self.interrupted) else []
        return newest + [path for _, path in sorted(steps, reverse=True)]

    def scalar_logs(self) -> list[str]:
        """mmengine's logs of losses and metrics, one of each start of the
        training, the newest first."""
        paths = (osp.join(self.path, name, 'vis_data', 'scalars.json')
                 for name in sorted(_names_in(self.path), reverse=True))
        return [path for path in paths if osp.isfile(path)]

    def latest_checkpoint(self) -> Optional[str]:
        """The newest checkpoint that is whole, or None.

        mmengine's ``last_checkpoint`` is not trusted: a kill can leave it
        empty, or pointing to a file that is gone.
        """
        # here, since names of files do not need torch
        from mmal.compat.checkpoints import is_readable_checkpoint
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


@dataclass(frozen=True)
class LabelDir:
    """The files through which people are asked for labels.

    Args:
        path (str): The folder.
    """
    path: str

    @property
    def request(self) -> str:
        """COCO file of the images to label; it has no annotations."""
        return osp.join(self.path, 'to_label.json')

    @property
    def request_names(self) -> str:
        """Their file names."""
        return osp.join(self.path, 'to_label.txt')

    @property
    def labels(self) -> str:
        """COCO file that people fill."""
        return osp.join(self.path, 'labels.json')

    @property
    def starting_boxes(self) -> str:
        """The predicted boxes that were given to labelling tools: where they
        come back unchanged, nobody may have looked at the photo."""
        return osp.join(self.path, 'starting_boxes.json')

    def exported(self, name: str) -> str:
        """What is written for a labelling tool, by the tool's name for
        it."""
        return osp.join(self.path, 'export', name)

    @property
    def accepted(self) -> str:
        """COCO file of the labels taken over so far."""
        return osp.join(self.path, 'accepted.json')


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
    def lease(self) -> str:
        """Which process works here; there is none when nobody does."""
        return osp.join(osp.abspath(self.path), 'in_use.json')

    @property
    def data(self) -> str:
        """What the data were when the run began."""
        return osp.join(self.path, 'data.npz')

    @property
    def verified(self) -> str:
        """Marks of the images that were read to their end."""
        return osp.join(self.path, 'verified.npy')

    @property
    def embeddings(self) -> str:
        """Folder of the embeddings that all rounds share, those of a network
        that is never trained."""
        return osp.join(self.path, 'embeddings')

    @property
    def val(self) -> str:
        """The validation file in the form that mmdet reads; there is none
        where the user's own has it."""
        return osp.join(self.path, 'val.json')

    @property
    def curve(self) -> str:
        """Images, boxes and metrics of each round."""
        return osp.join(self.path, 'curve.json')

    @property
    def curve_picture(self) -> str:
        """The learning curve, drawn."""
        return osp.join(self.path, 'curve.png')

    @property
    def report(self) -> str:
        """The page that a person looks at."""
        return osp.join(self.path, 'report.html')

    @property
    def report_options(self) -> str:
        """How the page was asked for; there is none where it is as usual."""
        return osp.join(self.path, 'report.json')

    @property
    def report_pictures(self) -> str:
        """Folder of small pictures of the page, where they do not fit into
        it."""
        return osp.join(self.path, 'report_files')

    @property
    def tracking(self) -> str:
        """Where experiment trackers write what rounds brought."""
        return osp.join(self.path, 'tracking')

    def tracked_run(self, tracker: str) -> str:
        """Which run of a tracker, 'mlflow' or 'wandb', the rounds belong
        to."""
        return osp.join(self.tracking, f'{tracker}_run.json')

    @property
    def labels(self) -> LabelDir:
        """Where people are asked for labels, unless a config says another
        folder."""
        return LabelDir(osp.join(self.path, 'labels'))

    @property
    def log(self) -> str:
        """The log of the active learning, beside the rounds' own."""
        return osp.join(self.path, 'active_learning.log')

    def round(self, number: int) -> RoundDir:
        """The folder of a round, counted from 0."""
        return RoundDir(osp.join(self.path, f'round_{number:02d}'))

    def round_numbers(self) -> list[int]:
        """The rounds that have a folder, ascending."""
        matches = map(_ROUND.fullmatch, _names_in(self.path))
        return sorted(int(match[1]) for match in matches if match)


def _names_in(folder: str) -> list[str]:
    """The entries of a folder; none if there is no such folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(folder)
    return []

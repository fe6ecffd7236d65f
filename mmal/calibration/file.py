"""A calibration as a json file: numbers and names, nothing that could run."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from mmal.fileio import read_json, write_json
from .boxes import ConformalBoxes
from .scores import ScoreCalibrator

FORMAT = 1


@dataclass
class Calibration:
    """What was fitted for one trained detector.

    Args:
        classes (sequence[str]): C names in the order of labels.
        scores (ScoreCalibrator): Of C classes.
        boxes (ConformalBoxes, optional): Of C classes.
        about (dict): How it was fitted; read by people alone.

    Raises:
        ValueError: If a part is of another number of classes.
    """
    classes: Sequence[str]
    scores: ScoreCalibrator
    boxes: Optional[ConformalBoxes] = None
    about: Mapping = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in filter(None, (self.scores, self.boxes)):
            if part.num_classes != len(self.classes):
                raise ValueError(f'calibration: {len(self.classes)} names, '
                                 f'but {part.num_classes} classes.')

    def save(self, path: str) -> None:
        """Write the file atomically."""
        write_json(
            path,
            dict(
                format=FORMAT,
                about=dict(self.about),
                classes=list(self.classes),
                scores=self.scores.state(),
                boxes=self.boxes.state() if self.boxes else None),
            indent=1)

    @classmethod
    def load(cls, path: str) -> Calibration:
        """Read and check the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no calibration.
        """
        content = read_json(path)
        try:
            if content['format'] != FORMAT:
                raise ValueError(f'format {content["format"]} is not known')
            boxes = content['boxes']
            return cls(
                [str(name) for name in content['classes']],
                ScoreCalibrator.from_state(content['scores']),
                ConformalBoxes.from_state(boxes) if boxes else None,
                content['about'])
        except (KeyError, TypeError, ValueError) as e:
            raise ValueError(
                f'{path} holds no calibration ({type(e).__name__}: {e}): give '
                'a file that `mmal analysis calibrate` has written.') from e

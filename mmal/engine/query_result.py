"""What a query chose, as an object and as ``selected.json``."""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Optional

from mmal.fileio import write_json
from mmal.pool import UnreadableImage
from mmal.types import ImageId


@dataclass
class QueryResult:
    """What a query chose.

    Args:
        ids (list[int | str]): The images, the most wanted first.
        scores (list[float]): Their scores.
        boxes (int, optional): Boxes to draw: those on the images that are
            not ``reselected``; None if nobody knows yet.
        note (str): What a reader should know, e.g. that the pool is empty.
        seconds (float): Wall time of scoring and selecting.
        unreadable (list[UnreadableImage]): Images that cannot be read.
        reselected (list[int | str]): Those of the images that are labelled
            already.
        by_score (float, optional): The share of the images, in [0, 1], that
            have a score; the others (no detection, for most scorers) were
            drawn at random among such images. None if there are no images,
            or the selector does not look at scores.
        file_names (list[str]): Those of the images.
        expected_boxes (dict[str, float], optional): How many boxes of each
            class the detector expects on the images to label; None if it was
            not asked.
    """
    ids: list[ImageId]
    scores: list[float]
    boxes: Optional[int]
    note: str = ''
    seconds: float = 0.0
    unreadable: list[UnreadableImage] = field(default_factory=list)
    reselected: list[ImageId] = field(default_factory=list)
    by_score: Optional[float] = None
    file_names: list[str] = field(default_factory=list)
    expected_boxes: Optional[dict[str, float]] = None

    @property
    def new(self) -> list[ImageId]:
        """The images to label."""
        reselected = set(self.reselected)
        return [i for i in self.ids if i not in reselected]

    def __str__(self) -> str:
        boxes = '' if self.boxes is None else f' with {self.boxes:,} boxes'
        if self.boxes is None and self.expected_boxes is not None:
            number = sum(self.expected_boxes.values())
            boxes = f' with about {number:,.0f} boxes expected'
        text = f'{len(self.new):,} images{boxes}'
        if self.reselected:
            text += f', and {len(self.reselected):,} reselected ones'
        if self.at_random:
            text += f', {self.at_random:,} of them drawn at random'
        return text

    @property
    def at_random(self) -> int:
        """How many images have no score."""
        share = 1.0 if self.by_score is None else self.by_score
        return round((1 - share) * len(self.ids))

    def save(self, path: str) -> None:
        """Write ``selected.json``; an infinite score becomes None. The key
        ``reselected`` is there if an image was reselected, and
        ``expected_boxes`` if the detector was asked."""
        content = asdict(self)
        for key in ('reselected', 'expected_boxes'):
            if not content[key]:
                del content[key]
        content['scores'] = [
            s if math.isfinite(s) else None for s in self.scores
        ]
        write_json(path, content, indent=1)

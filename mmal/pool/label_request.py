"""What people are asked to label: the request, and the boxes to begin with."""
from __future__ import annotations

import os.path as osp
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from mmal.fileio import read_json, write_json
from mmal.types import ImageId
from .coco import CocoData, load_coco, some, spelled_otherwise
from .formats.exchange import LabelBox, LabelImage
from .layout import LabelDir, WorkDir


@dataclass(frozen=True)
class LabelRequest:
    """The images that a run waits for.

    Args:
        files (LabelDir): Where the files for labelling are.
        images (CocoData): Those of the newest request.
        accepted (frozenset[str]): File names of the images whose labels the
            run has taken over.
    """
    files: LabelDir
    images: CocoData
    accepted: frozenset[str]

    @classmethod
    def open(cls, files: LabelDir) -> LabelRequest:
        """Read the request of a run.

        Raises:
            FileNotFoundError: If the run has never asked for labels.
            ValueError: If a file is damaged.
        """
        if not osp.exists(files.request):
            raise FileNotFoundError(
                f'there is no {files.request}: this run asks nobody for '
                "labels. With oracle=dict(type='mmal.ManualOracle') it writes "
                'one and waits.')
        accepted: Collection[str] = ()
        if osp.exists(files.accepted):
            accepted = load_coco(files.accepted).file_names
        return cls(files, load_coco(files.request, need_annotations=False),
                   frozenset(accepted))

    @property
    def open_ids(self) -> list[ImageId]:
        """The images that still wait, in the order of the file."""
        return [i for i, name in zip(self.images.ids, self.images.file_names)
                if name not in self.accepted]

    def to_label(self, predictions: Mapping[ImageId, list[LabelBox]]
                 ) -> list[LabelImage]:
        """The images that still wait, with boxes to begin with.

        Args:
            predictions (Mapping): See :func:`predicted_boxes`.
        """
        entries = ((i, self.images.images[i]) for i in self.open_ids)
        return [
            LabelImage(entry['file_name'],
                       (round(entry['width']), round(entry['height'])),
                       list(predictions.get(i, ())))
            for i, entry in entries
        ]


def predicted_boxes(work: WorkDir,
                    request: CocoData,
                    score_thr: float = 0.,
                    classes: Optional[Collection[str]] = None
                    ) -> dict[ImageId, list[LabelBox]]:
    """What the detectors of the rounds found on the images of a request.

    Args:
        work (WorkDir): The run.
        request (CocoData): The images, and the classes.
        score_thr (float): Boxes with a lower score are left out.
        classes (collection[str], optional): Names of the classes to keep.

    Returns:
        dict[int | str, list[LabelBox]]: The boxes of each image, those of the
        newest round that has looked at it. Images nobody has looked at, such
        as a first set drawn at random, have no key.

    Raises:
        ValueError: If a class is unknown, or a file is damaged.
    """
    names = {c['id']: c['name'] for c in request.categories}
    unknown = [c for c in classes or () if c not in names.values()]
    if unknown:
        raise ValueError(
            f'there are no classes {some(unknown)}, but '
            f'{some(names.values(), 10)}.'
            f'{spelled_otherwise(unknown, names.values())}')
    kept = set(names.values() if classes is None else classes)
    boxes: dict[ImageId, list[LabelBox]] = {}
    rounds = [work.round(n) for n in reversed(work.round_numbers())]
    for folder in rounds:
        if not osp.exists(folder.predictions):
            continue
        of_image = defaultdict(list)
        for row in read_json(folder.predictions):
            if row['image_id'] in request.images:
                of_image[row['image_id']].append(row)
        chosen = read_json(folder.selected)['ids'] if osp.exists(
            folder.selected) else []
        for i in {*chosen, *of_image}.difference(boxes):
            if i in request.images:
                boxes[i] = [
                    LabelBox(names[row['category_id']], tuple(row['bbox']),
                             row['score'], tuple(row['bbox_std'])
                             if row.get('bbox_std') else None)
                    for row in of_image[i] if row['score'] >= score_thr
                    and names.get(row['category_id']) in kept]
    return boxes


def save_starting_boxes(request: LabelRequest,
                        images: Iterable[LabelImage]) -> None:
    """Keep what a labelling tool is given, beside what was given before.

    Args:
        request (LabelRequest): Whose images they are.
        images (iterable[LabelImage]): From :meth:`LabelRequest.to_label`.
    """
    path = request.files.starting_boxes
    given = read_json(path) if osp.exists(path) else []
    known = {_key(row) for row in given}
    for image in images:
        row = dict(file_name=image.name, boxes=[
            [box.label, *box.bbox] for box in image.boxes])
        if image.boxes and _key(row) not in known:
            given.append(row)
    write_json(path, given)


def load_starting_boxes(files: LabelDir) -> dict[str, list[list[LabelBox]]]:
    """Of each photo all sets of boxes that a labelling tool was given.

    Args:
        files (LabelDir): Where the files for labelling are.
    """
    sets: dict[str, list[list[LabelBox]]] = defaultdict(list)
    if osp.exists(files.starting_boxes):
        for row in read_json(files.starting_boxes):
            sets[row['file_name']].append(
                [LabelBox(label, tuple(bbox)) for label, *bbox in row['boxes']]
            )
    return dict(sets)


def _key(row: Mapping) -> tuple:
    return row['file_name'], tuple(map(tuple, row['boxes']))

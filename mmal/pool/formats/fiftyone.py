"""FiftyOne's json forms of boxes: ``FiftyOneImageDetectionDataset``, written
and read, and the ``samples.json`` of a ``FiftyOneDataset``, read.

Boxes are x, y, width and height as shares of the photo's.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from .conversion import Notes
from .exchange import LabelBox, LabelExport, LabelImage, numbers, size_of
from .photos import stem_of

#: The tag of a sample that says that a person is done with it.
LABELLED_TAG = 'labelled'


def to_fiftyone(images: Iterable[LabelImage],
                classes: Sequence[str]) -> dict:
    """Photos to label as the ``labels.json`` of a
    ``FiftyOneImageDetectionDataset``.

    Args:
        images (iterable[LabelImage]): With ``size`` and boxes in pixels.
        classes (sequence[str]): All that may be drawn.
    """
    labels = {}
    for image in images:
        width, height = image.size
        # it calls a photo by its path without the extension
        rows = labels[stem_of(image.name)] = []
        for box in image.boxes:
            x, y, w, h = box.bbox
            row: dict[str, Any] = dict(
                label=box.label,
                bounding_box=[x / width, y / height, w / width, h / height])
            if box.score is not None:
                row['confidence'] = box.score
            if box.std is not None:
                row['attributes'] = dict(bbox_std=list(box.std))
            rows.append(row)
    return dict(classes=list(classes), labels=labels)


def is_fiftyone(content: Any) -> bool:
    """Whether the content of a json file is of FiftyOne."""
    return isinstance(content, Mapping) and (
        isinstance(content.get('samples'), list)
        or isinstance(content.get('labels'), Mapping)
        and isinstance(content.get('classes', []), (list, type(None))))


def read_fiftyone(content: Mapping, path: str,
                  field: Optional[str] = None) -> LabelExport:
    """What people have drawn.

    A sample of ``samples.json`` with the tag :data:`LABELLED_TAG` was handed
    in; of one without it, nothing is known.

    Args:
        content (Mapping): The content of the file, see :func:`is_fiftyone`.
        path (str): The file, for messages.
        field (str, optional): The field of ``samples.json`` that holds the
            boxes. Default: ``ground_truth``, or the only one with boxes.

    Raises:
        ValueError: If a box is wrong, or nothing says which field is meant.
    """
    classes = content.get('classes') or []
    if not isinstance(classes, list):
        classes = []
    photos: list[tuple[str, Optional[tuple], Any, bool]] = []
    if isinstance(content.get('samples'), list):
        samples = [s for s in content['samples'] if isinstance(s, Mapping)]
        field = field or _box_field(samples, path)
        for sample in samples:
            meta = sample.get('metadata') or {}
            name = str(sample.get('filepath') or '')
            size = size_of(meta.get('width'), meta.get('height'),
                           f'{path}, sample {name!r}')
            boxes, tags = sample.get(field), sample.get('tags')
            photos.append((name, size, boxes.get('detections')
                           if isinstance(boxes, Mapping) else None,
                           isinstance(tags, list) and LABELLED_TAG in tags))
    else:
        photos = [(str(key), None, rows, False)
                  for key, rows in content['labels'].items()]
    images = []
    for name, size, rows, is_done in photos:
        where = f'{path}, sample {name!r}'
        image = LabelImage(name, size=size, is_share=True)
        # null is a sample that nobody has given any labels
        image.is_finished = True if is_done else \
            False if rows is None else None
        for row in rows or ():
            label = row.get('label') if isinstance(row, Mapping) else None
            if isinstance(label, int) and 0 <= label < len(classes):
                label = classes[label]
            if not isinstance(label, str) or not label:
                image.problem = 'a box on it has no class'
                continue
            bbox = row.get('bounding_box')
            if not isinstance(bbox, list) or len(bbox) != 4:
                raise ValueError(f'{where}: {bbox!r} is no bounding_box of '
                                 'four shares. Export the labels again.')
            image.boxes.append(LabelBox(label, tuple(numbers(bbox, where))))
        images.append(image)
    drawn = (b.label for i in images for b in i.boxes)
    return LabelExport('fiftyone', images,
                       list(dict.fromkeys([*classes, *drawn])), Notes())


def _box_field(samples: Sequence[Mapping], path: str) -> str:
    """The field of samples that holds the boxes that people drew."""
    fields = list(dict.fromkeys(
        key for sample in samples for key, value in sample.items()
        if isinstance(value, Mapping) and 'detections' in value))
    if 'ground_truth' in fields or len(fields) == 1:
        return 'ground_truth' if 'ground_truth' in fields else fields[0]
    raise ValueError(
        f'{path}: which field holds the boxes that people drew? There are '
        f'{", ".join(fields) or "none with detections"}. Export one field, '
        'e.g. label_field="ground_truth".')

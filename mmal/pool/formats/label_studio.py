"""Label Studio's tasks: json with predictions to begin with, and annotations.

Coordinates are percents of the photo's width and height. A box is turned
around its upper left corner, clockwise.
"""
from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from .conversion import Notes
from .exchange import (
    LabelBox,
    LabelExport,
    LabelImage,
    box_around,
    ellipse_box,
    numbers,
    parse_xml_text,
    size_of,
    turned_box,
)
from .photos import is_photo

#: Where the server answers for photos under LOCAL_FILES_DOCUMENT_ROOT.
LOCAL_FILES = '/data/local-files/?d='
# the key of a task's data that holds our name of the photo
OUR_NAME = 'file_name'
_SHAPES = ('rectangle', 'polygon', 'ellipse', 'brush', 'bitmask')


@dataclass(frozen=True)
class LabelConfig:
    """What a project asks people for.

    Args:
        labels (tuple[str, ...]): The classes of its boxes.
        from_name (str): The name of the control that draws them.
        to_name (str): The name of the photo on the page.
        value (str): The key of a task's data that holds the photo's address.
    """
    labels: tuple[str, ...]
    from_name: str = 'label'
    to_name: str = 'image'
    value: str = 'image'

    def xml(self, colours: Sequence[str] = ()) -> str:
        """The labelling interface as Label Studio takes it.

        Args:
            colours (sequence[str]): Of the classes, e.g. '#ff0000'.
        """
        shades = [f' background={quoteattr(c)}' for c in colours]
        shades += [''] * (len(self.labels) - len(shades))
        labels = '\n'.join(
            f'    <Label value={quoteattr(name)}{shade}/>'
            for name, shade in zip(self.labels, shades))
        return (f'<View>\n  <Image name={quoteattr(self.to_name)} '
                f'value={quoteattr("$" + self.value)} zoom="true"/>\n'
                f'  <RectangleLabels name={quoteattr(self.from_name)} '
                f'toName={quoteattr(self.to_name)}>\n{labels}\n'
                '  </RectangleLabels>\n</View>\n')

    @classmethod
    def parse(cls, xml: str) -> LabelConfig:
        """Read the labelling interface of a project.

        Raises:
            ValueError: If it is not xml, or has no photo and no
                ``RectangleLabels`` for it.
        """
        root = parse_xml_text(xml, 'the labelling interface',
                              'Save it in the project again.')
        values = {e.get('name'): (e.get('value') or '').lstrip('$')
                  for e in root.iter('Image')}
        for control in root.iter('RectangleLabels'):
            to_name = control.get('toName')
            if to_name in values and control.get('name'):
                labels = [e.get('alias') or e.get('value')
                          for e in control.iter('Label')]
                return cls(tuple(filter(None, labels)), control.get('name'),
                           to_name, values[to_name])
        raise ValueError('the labelling interface has no <RectangleLabels> '
                         'whose toName is an <Image>: add one, as '
                         '`mmal labels export --to label-studio` writes it.')


def prediction(image: LabelImage, config: LabelConfig,
               model_version: str) -> dict:
    """Boxes as a prediction of a task.

    Boxes of classes that the project does not have are left out: Label Studio
    would refuse all of them.

    Args:
        image (LabelImage): With its ``size`` and boxes in pixels.
        config (LabelConfig): Of the project.
        model_version (str): Who has predicted them.

    Returns:
        dict: ``model_version``, ``score`` (the mean of the boxes', 0 where
        there is none) and ``result``.
    """
    width, height = image.size
    result = []
    for n, box in enumerate(image.boxes):
        if box.label not in config.labels:
            continue
        x, y, w, h = box.bbox
        region: dict[str, Any] = dict(
            id=f'predicted-{n}', type='rectanglelabels',
            from_name=config.from_name, to_name=config.to_name,
            original_width=width, original_height=height, image_rotation=0,
            value=dict(x=100 * x / width, y=100 * y / height,
                       width=100 * w / width, height=100 * h / height,
                       rotation=0, rectanglelabels=[box.label]))
        if box.score is not None:
            region['score'] = box.score
        if box.note:
            region['meta'] = dict(text=[box.note])
        result.append(region)
    scores = [r['score'] for r in result if 'score' in r]
    return dict(model_version=model_version, result=result,
                score=sum(scores) / len(scores) if scores else 0.)


def to_tasks(images: Iterable[LabelImage], config: LabelConfig,
             address: Callable[[str], str],
             model_version: str = 'mmal') -> list[dict]:
    """Photos to label as tasks that Label Studio imports.

    Args:
        images (iterable[LabelImage]): With ``size`` and predicted boxes in
            pixels.
        config (LabelConfig): Of the project.
        address (callable): Takes a file name; where the browser finds the
            photo, see :func:`local_files_url` and :func:`data_url`.
        model_version (str): What the predictions are called.

    Returns:
        list[dict]: ``data`` (the address, and our name of the photo) and
        ``predictions``, which are there for photos without boxes too.
    """
    return [
        dict(data={config.value: address(image.name), OUR_NAME: image.name},
             predictions=[prediction(image, config, model_version)])
        for image in images
    ]


def local_files_url(name: str) -> str:
    """The address of a photo under ``LOCAL_FILES_DOCUMENT_ROOT``.

    Examples:
        >>> local_files_url('night 1/a.jpg')
        '/data/local-files/?d=night%201/a.jpg'
    """
    return LOCAL_FILES + quote(name)


def data_url(path: str) -> str:
    """A photo itself as an address, so that nothing else is uploaded.

    Raises:
        OSError: If it cannot be read.
    """
    kind = mimetypes.guess_type(path)[0] or 'image/jpeg'
    with open(path, 'rb') as f:
        return f'data:{kind};base64,{base64.b64encode(f.read()).decode()}'


def read_tasks(tasks: Sequence[Mapping], path: str) -> LabelExport:
    """What people have drawn, from an export in JSON or JSON-MIN.

    An annotation that was handed in counts, with boxes or without; drafts and
    skipped tasks do not. Of several the newest counts, or the one marked as
    ground truth.

    Args:
        tasks (sequence[Mapping]): The content of the file.
        path (str): The file, for messages.

    Raises:
        ValueError: If it is no export of Label Studio; the message names the
            task.
    """
    images, notes = [], Notes()
    for n, task in enumerate(tasks):
        where = f'{path}, task {n + 1}'
        if not isinstance(task, Mapping):
            raise ValueError(f'{where} is no object. Export the project as '
                             'JSON.')
        # JSON-MIN has the data of a task beside its answers
        is_minimal = not isinstance(task.get('data'), Mapping)
        data = task if is_minimal else task['data']
        names = _names(data)
        if is_minimal:
            regions = _minimal_regions(task)
        else:
            # 0a1b2c3d-photo.jpg
            if isinstance(task.get('file_upload'), str):
                names.append(task['file_upload'])
            regions = _chosen_annotation(task, where, notes)
        if not names:
            raise ValueError(f'{where} names no photo. Export the project as '
                             'JSON.')
        image = LabelImage(names[0], other_names=names[1:], is_share=True,
                           is_finished=regions is not None,
                           is_our_name=names[0] == data.get(OUR_NAME))
        _read_regions(image, regions or (), where, notes)
        images.append(image)
    classes = dict.fromkeys(b.label for i in images for b in i.boxes)
    return LabelExport('label-studio', images, list(classes), notes)


def _names(data: Mapping) -> list[str]:
    """Texts that may name the photo of a task, ours first: addresses and
    names of photos. An answer, such as "night", may be called like one."""
    texts = [v for v in data.values()
             if isinstance(v, str) and not v.startswith('data:')
             and (is_photo(v) or v.startswith('/') or '://' in v)]
    ours = data.get(OUR_NAME)
    if isinstance(ours, str) and ours:
        texts.insert(0, ours)
    return list(dict.fromkeys(texts))


def _chosen_annotation(task: Mapping, where: str,
                       notes: Notes) -> Optional[list]:
    """The regions of the annotation that counts; None if nobody has handed
    one in."""
    # before version 1.0 they were called completions
    given = task.get('annotations', task.get('completions'))
    if not isinstance(given, list):
        raise ValueError(f'{where} has no "annotations". Export the project '
                         'as JSON; a file of tasks to import is no export.')
    given = [a for a in given if isinstance(a, Mapping)
             and isinstance(a.get('result'), list)
             and not a.get('was_cancelled') and not a.get('skipped')]
    if len(given) > 1:
        notes.add('photos with several annotations, of which the newest, or '
                  'the ground truth, is taken', where)
    chosen = max(given, default=None, key=lambda a: (
        bool(a.get('ground_truth')),
        str(a.get('updated_at') or a.get('created_at') or '')))
    return None if chosen is None else chosen['result']


def _minimal_regions(task: Mapping) -> Optional[list]:
    """The regions of a task of JSON-MIN, which has one annotation."""
    regions = [dict(type=kind + 'labels', value=value,
                    original_width=value.get('original_width'),
                    original_height=value.get('original_height'))
               for values in task.values() if isinstance(values, list)
               for value in values if isinstance(value, Mapping)
               for kind in _SHAPES if f'{kind}labels' in value]
    # it has the time of an annotation, also of one without boxes
    handed_in = regions or 'annotation_id' in task
    return regions if handed_in else None


def _read_regions(image: LabelImage, regions: Iterable[Mapping], where: str,
                  notes: Notes) -> None:
    """Fill the boxes of a photo, or say why they cannot be taken."""
    regions = [r for r in regions if isinstance(r, Mapping)]
    # a class may be in a region of its own, under the id of the shape
    named: dict[Any, list] = {}
    for region in regions:
        value = region.get('value')
        if region.get('type') == 'labels' and isinstance(value, Mapping):
            named[region.get('id')] = value.get('labels') or []
    for region in regions:
        kind, value = str(region.get('type')), region.get('value')
        shape = kind.removesuffix('labels')
        if kind in ('relation', 'labels') or not isinstance(value, Mapping):
            continue
        if shape not in _SHAPES:
            notes.add('answers that are no boxes (points, choices, texts), '
                      'left out', where)
            continue
        image.size = size_of(
            region.get('original_width'), region.get('original_height'),
            where) or image.size
        labels = value.get(kind) or value.get('labels') or named.get(
            region.get('id')) or []
        if not labels:
            image.problem = 'a box on it has no class'
        elif shape in ('brush', 'bitmask'):
            image.problem = ('it has a brush mask, whose box is not read: '
                             'draw a box, or export as COCO')
        elif region.get('image_rotation'):
            image.problem = 'the photo was turned while it was labelled'
        else:
            bbox = _bbox(shape, value, image.size, where, notes)
            if bbox is None:
                image.problem = ('a turned box on it has no '
                                 '"original_width" and "original_height"')
                continue
            image.boxes += [LabelBox(str(label), bbox) for label in labels]


def _bbox(shape: str, value: Mapping, size: Optional[tuple[int, int]],
          where: str, notes: Notes) -> Optional[tuple]:
    """The upright box of a shape as shares; None if its turn needs a size
    that is not there."""
    if shape == 'polygon':
        notes.add('polygons, their boxes taken', where)
        points = [numbers(p, where) for p in value.get('points') or ()]
        if not points:
            raise ValueError(f'{where} has a polygon without points.')
        return tuple(v / 100 for v in box_around(points))
    keys = ('x', 'y', 'width', 'height') if shape == 'rectangle' else (
        'x', 'y', 'radiusX', 'radiusY')
    x, y, a, b = (v / 100 for v in numbers(map(value.get, keys), where))
    degrees = numbers([value.get('rotation') or 0], where)[0]
    if shape == 'ellipse':
        notes.add('ellipses, their boxes taken', where)
    if not degrees:
        return (x, y, a, b) if shape == 'rectangle' else \
            ellipse_box(x, y, a, b)
    if size is None:
        return None
    width, height = size
    x, y, a, b = x * width, y * height, a * width, b * height
    if shape == 'ellipse':
        x, y, a, b = ellipse_box(x, y, a, b, degrees)
    else:
        notes.add('turned boxes, the upright boxes around them taken', where)
        x, y, a, b = turned_box((x, y, a, b), degrees, (x, y))
    return x / width, y / height, a / width, b / height

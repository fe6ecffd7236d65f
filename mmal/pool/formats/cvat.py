"""CVAT's own xml, "CVAT for images 1.1", with starting boxes or with labels.

Coordinates are pixels, counted from 0 at the border of the photo. A box is
turned around its centre, clockwise.
"""
from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from .conversion import Notes
from .exchange import (
    LabelBox,
    LabelExport,
    LabelImage,
    box_around,
    ellipse_box,
    numbers,
    size_of,
    turned_box,
)

_SIDES = ('xtl', 'ytl', 'xbr', 'ybr')
_POINTS = ('polygon', 'polyline', 'cuboid', 'points', 'skeleton')
# written beside a box; they have to be attributes of the project's labels
_ATTRIBUTES = ('score', 'note')


def label_constructor(classes: Sequence[str]) -> list[dict]:
    """The labels of a project, for the tab "Raw" of CVAT's constructor.

    Args:
        classes (sequence[str]): Their names.
    """
    return [
        dict(name=name, attributes=[
            dict(name=attribute, input_type='text', mutable=False,
                 values=[''], default_value='')
            for attribute in _ATTRIBUTES])
        for name in classes
    ]


def to_cvat_xml(images: Sequence[LabelImage], classes: Sequence[str]) -> bytes:
    """Photos to label, as annotations that CVAT uploads to a task.

    Args:
        images (sequence[LabelImage]): With ``size`` and boxes in pixels.
        classes (sequence[str]): All that may be drawn.
    """
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    task = ElementTree.SubElement(
        ElementTree.SubElement(root, 'meta'), 'task')
    for key, text in (('name', 'mmal'), ('size', str(len(images))),
                      ('mode', 'annotation')):
        ElementTree.SubElement(task, key).text = text
    labels = ElementTree.SubElement(task, 'labels')
    for entry in label_constructor(classes):
        label = ElementTree.SubElement(labels, 'label')
        ElementTree.SubElement(label, 'name').text = entry['name']
        attributes = ElementTree.SubElement(label, 'attributes')
        for a in entry['attributes']:
            attribute = ElementTree.SubElement(attributes, 'attribute')
            for key, text in (('name', a['name']), ('mutable', 'False'),
                              ('input_type', 'text'), ('default_value', ''),
                              ('values', '')):
                ElementTree.SubElement(attribute, key).text = text
    for n, image in enumerate(images):
        width, height = map(str, image.size)
        entry = ElementTree.SubElement(
            root, 'image', id=str(n), name=image.name, width=width,
            height=height)
        for box in image.boxes:
            x, y, w, h = box.bbox
            corners = zip(_SIDES, (x, y, x + w, y + h))
            element = ElementTree.SubElement(
                entry, 'box', label=box.label, source='auto', occluded='0',
                z_order='0', **{side: repr(float(v)) for side, v in corners})
            score = '' if box.score is None else f'{box.score:.3f}'
            for key, text in zip(_ATTRIBUTES, (score, box.note)):
                if text:
                    ElementTree.SubElement(
                        element, 'attribute', name=key).text = text
    return ElementTree.tostring(root, 'utf-8', xml_declaration=True)


def read_cvat_xml(root: ElementTree.Element, path: str) -> LabelExport:
    """What people have drawn, from an export as "CVAT for images 1.1".

    Args:
        root (ElementTree.Element): The first element of the file.
        path (str): The file, for messages.

    Raises:
        ValueError: If it is another xml file, or a shape in it is wrong; the
            message names the photo.
    """
    if root.tag != 'annotations':
        raise ValueError(f'{path} is no file of CVAT: its first element is '
                         f'<{root.tag}>, not <annotations>.')
    if root.find('track') is not None:
        raise ValueError(f'{path} has tracks, of the format "CVAT for video". '
                         'Export the task as "CVAT for images 1.1".')
    notes = Notes()
    classes = [e.text or '' for e in root.iterfind('meta//label/name')]
    images = []
    for entry in root.iter('image'):
        name = entry.get('name') or ''
        where = f'{path}, image {name!r}'
        if not name:
            raise ValueError(f'{path} has an <image> without a name.')
        image = LabelImage(name, size_of(
            entry.get('width'), entry.get('height'), where))
        for shape in entry:
            _read_shape(image, shape, where, notes)
        images.append(image)
    drawn = (b.label for i in images for b in i.boxes)
    return LabelExport('cvat', images,
                       list(dict.fromkeys([*classes, *drawn])), notes)


def _read_shape(image: LabelImage, shape: ElementTree.Element, where: str,
                notes: Notes) -> None:
    label = shape.get('label') or ''
    degrees = numbers([shape.get('rotation') or 0], where)[0]
    if shape.tag == 'box':
        left, top, right, bottom = numbers(map(shape.get, _SIDES), where)
        bbox = (left, top, right - left, bottom - top)
        if degrees:
            notes.add('turned boxes, the upright boxes around them taken',
                      where)
            bbox = turned_box(bbox, degrees, ((left + right) / 2,
                                              (top + bottom) / 2))
    elif shape.tag == 'polygon':
        notes.add('polygons, their boxes taken', where)
        bbox = box_around(
            numbers(point.split(','), where)
            for point in (shape.get('points') or '').split(';'))
    elif shape.tag == 'ellipse':
        notes.add('ellipses, their boxes taken', where)
        bbox = ellipse_box(
            *numbers(map(shape.get, ('cx', 'cy', 'rx', 'ry')), where), degrees)
    elif shape.tag == 'mask':
        notes.add('masks, their boxes taken', where)
        bbox = _mask_box(shape, where)
    else:
        if shape.tag in _POINTS:
            notes.add('lines, points, cuboids and skeletons, left out', where)
        elif shape.tag == 'tag':
            notes.add('tags of whole photos, left out', where)
        return
    if not label:
        image.problem = 'a box on it has no class'
        return
    image.boxes.append(LabelBox(label, bbox))


def _mask_box(shape: ElementTree.Element, where: str) -> tuple:
    """The box around a mask: runs of off and on, row by row in its window."""
    left, top, width, _ = numbers(
        map(shape.get, ('left', 'top', 'width', 'height')), where)
    runs = [int(n) for n in numbers((shape.get('rle') or '').split(','),
                                    where)]
    width, at, corners = max(1, int(width)), 0, []
    for n, run in enumerate(runs):
        if n % 2 and run > 0:
            first, last = at, at + run - 1
            rows = first // width, last // width
            # a run over the end of a row covers columns from border to border
            columns = (first % width, last % width) if rows[0] == rows[1] \
                else (0, width - 1)
            corners += [(columns[0], rows[0]), (columns[1] + 1, rows[1] + 1)]
        at += run
    if not corners:
        raise ValueError(f'{where} has an empty mask. Remove it in CVAT.')
    x, y, w, h = box_around(corners)
    return left + x, top + y, w, h

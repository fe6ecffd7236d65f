"""What goes to a labelling tool and comes back: photos with boxes.

The readers of exports and the writers of requests all speak of these; nobody
but them knows how a tool spells a box.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union
from xml.etree import ElementTree
from xml.parsers import expat

from .conversion import Notes


@dataclass(frozen=True)
class LabelBox:
    """A box with its class.

    Args:
        label (str): The name of the class.
        bbox (tuple[float, float, float, float]): x, y, width and height, in
            the unit that its image says.
        score (float, optional): Of a predicted one, in [0, 1].
        std (tuple[float, float, float, float], optional): Standard deviations
            of x1, y1, x2, y2 of a predicted one, in pixels.
        is_crowd (bool): Whether it outlines a region with many objects.
    """
    label: str
    bbox: tuple[float, float, float, float]
    score: Optional[float] = None
    std: Optional[tuple[float, float, float, float]] = None
    is_crowd: bool = False

    @property
    def note(self) -> str:
        """How sure a predicted one is, as people read it; '' if nothing is
        known of its borders."""
        if self.std is None:
            return ''
        sides = zip(('left', 'top', 'right', 'bottom'), self.std)
        return 'standard deviation in pixels: ' + ', '.join(
            f'{side} {value:.1f}' for side, value in sides)


@dataclass
class LabelImage:
    """A photo with its boxes, as one of the two sides knows it.

    Args:
        name (str): Its file name there.
        size (tuple[int, int], optional): The width and height in pixels of
            the photo that was shown.
        boxes (list[LabelBox]): In pixels of ``size``, or of our own photo
            where there is none.
        is_share (bool): Whether boxes are shares of width and height, from
            0 to 1, instead.
        other_names (list[str]): Further names that may be ours.
        is_our_name (bool): Whether ``name`` is what a request of ours calls
            it, whatever the others say.
        is_finished (bool, optional): Whether a person has handed it in; None
            where the tool does not say so.
        problem (str): Why its boxes cannot be taken; '' if they can.
    """
    name: str
    size: Optional[tuple[int, int]] = None
    boxes: list[LabelBox] = field(default_factory=list)
    is_share: bool = False
    other_names: list[str] = field(default_factory=list)
    is_our_name: bool = False
    is_finished: Optional[bool] = None
    problem: str = ''


@dataclass
class LabelExport:
    """What a labelling tool has exported.

    Args:
        form (str): The dialect, e.g. 'label-studio'.
        images (list[LabelImage]): The photos.
        classes (list[str]): The classes it lists; those of the boxes where
            it lists none.
        notes (Notes): What became of shapes that are no upright boxes.
    """
    form: str
    images: list[LabelImage]
    classes: list[str]
    notes: Notes = field(default_factory=Notes)


def box_around(points: Iterable[Sequence[float]]) -> tuple:
    """The upright box around points.

    Args:
        points (iterable[sequence[float]]): At least one x, y.

    Returns:
        tuple[float, float, float, float]: x, y, width and height.
    """
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def turned_box(bbox: Sequence[float], degrees: float,
               pivot: Sequence[float]) -> tuple:
    """The upright box around one that is turned.

    Args:
        bbox (sequence[float]): x, y, width and height before the turn, in
            pixels (of shares, an angle means nothing).
        degrees (float): Clockwise as one sees it, y pointing down.
        pivot (sequence[float]): The point that stays.

    Returns:
        tuple[float, float, float, float]: x, y, width and height.

    Examples:
        >>> [round(v, 6) for v in turned_box((0, 0, 4, 2), 90, (2, 1))]
        [1.0, -1.0, 2.0, 4.0]
    """
    x, y, width, height = bbox
    sine, cosine = (f(math.radians(degrees)) for f in (math.sin, math.cos))
    px, py = pivot
    return box_around(
        (px + (cx - px) * cosine - (cy - py) * sine,
         py + (cx - px) * sine + (cy - py) * cosine)
        for cx in (x, x + width) for cy in (y, y + height))


def ellipse_box(x: float, y: float, rx: float, ry: float,
                degrees: float = 0.) -> tuple:
    """The upright box around an ellipse.

    Args:
        x, y (float): The centre.
        rx, ry (float): The radii before the turn, in the same unit.
        degrees (float): The turn around the centre.

    Returns:
        tuple[float, float, float, float]: x, y, width and height.
    """
    sine, cosine = (f(math.radians(degrees)) for f in (math.sin, math.cos))
    half_width = math.hypot(rx * cosine, ry * sine)
    half_height = math.hypot(rx * sine, ry * cosine)
    return x - half_width, y - half_height, 2 * half_width, 2 * half_height


def numbers(values: Iterable[Any], where: str) -> list[float]:
    """Finite numbers, which may be written as text.

    Raises:
        ValueError: Naming ``where``.
    """
    values = list(values)
    try:
        found = [float(v) for v in values if not isinstance(v, bool)]
    except (OverflowError, TypeError, ValueError):
        found = []
    if len(found) != len(values) or not all(map(math.isfinite, found)):
        raise ValueError(f'{where}: {values!r} are no numbers. Export the '
                         'labels again.')
    return found


def size_of(width: Any, height: Any,
            where: str) -> Optional[tuple[int, int]]:
    """The size of a photo as an export has it, which may be text.

    Args:
        width, height (object): Of the export.
        where (str): For the message.

    Returns:
        tuple[int, int]: Width and height; None if one is missing, or 0 as
        tools write that cannot read a photo.

    Raises:
        ValueError: If one is no number; naming ``where``.

    Examples:
        >>> size_of('640', 480.0, 'a.jpg'), size_of('0', '0', 'a.jpg')
        ((640, 480), None)
    """
    if width in (None, '') or height in (None, ''):
        return None
    size = tuple(map(round, numbers([width, height], where)))
    return size if min(size) > 0 else None


def parse_xml(path: str,
              advice: str = 'Export it again.') -> ElementTree.Element:
    """An xml file, see :func:`parse_xml_text`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: See :func:`parse_xml_text`.
    """
    with open(path, 'rb') as f:
        return parse_xml_text(f.read(), path, advice)


class _DocumentType(ValueError):
    """Xml has one."""


def parse_xml_text(content: Union[bytes, str], where: str,
                   advice: str) -> ElementTree.Element:
    """Xml that declares no types and entities of its own.

    Entities may refer to other files, or to each other until the memory is
    full; no labelling tool writes any.

    Args:
        content (bytes | str): The xml.
        where (str): What it is, for messages.
        advice (str): What to do if it is not xml.

    Raises:
        ValueError: If it is not xml, or has a document type.
    """
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_) -> None:
        raise _DocumentType(f'{where} declares a document type, which no tool '
                            'for labelling does: it is not read.')

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        return builder.close()
    except _DocumentType:
        raise
    # of encodings that are unknown, or of several bytes
    except (expat.ExpatError, LookupError, ValueError) as e:
        raise ValueError(f'{where} is not valid XML ({e}). {advice}') from e



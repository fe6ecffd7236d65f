"""Names of classes: given in many ways, or collected from the labels."""
from __future__ import annotations

import difflib
import os.path as osp
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Optional, Union

from mmal.fileio import read_json

VOC_CLASSES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat',
    'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person',
    'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
_FILES = ('.json', '.names', '.txt', '.yaml', '.yml')


def read_classes(given: Union[str, Sequence[str]]) -> list[str]:
    """Names of classes as people give them.

    Args:
        given (str | Sequence[str]): Names (a string may hold several,
            separated by commas), or one file: a text file with a name on
            each line, a COCO json, or a ``data.yaml`` of YOLO.

    Returns:
        list[str]: The names, in the order given.

    Raises:
        FileNotFoundError: If a file is meant and there is none.
        ValueError: If the file cannot be read, there is no name or one
            stands there twice.
    """
    single = given if isinstance(given, str) else (
        given[0] if len(given) == 1 else None)
    is_file = single is not None and osp.isfile(single)
    if single is not None and not is_file and single.lower().endswith(_FILES):
        raise FileNotFoundError(
            f'there is no file {single}. Write one with the name of a class '
            'on each line, or give the names themselves.')
    if is_file:
        return check_names(names_in_file(single), single)
    if isinstance(given, str):
        given = given.split(',')
    return check_names(given, 'the list of classes')


def check_names(names: Iterable[str], where: str) -> list[str]:
    """Class names without blanks around them, each there once.

    Args:
        names (Iterable[str]): Empty ones at the end do not count.
        where (str): Their origin, for the message.

    Raises:
        ValueError: If there is none, one is empty or stands there twice.
    """
    names = [n.strip() for n in names]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ValueError(f'{where} names no class. Write one on each line.')
    # Left out, it would shift the numbers of YOLO's classes.
    if '' in names:
        raise ValueError(f'{where}: name {names.index("") + 1} is empty. '
                         'Fill it in or remove it.')
    twice = [n for n in dict.fromkeys(names) if names.count(n) > 1]
    if twice:
        raise ValueError(f'{where} names classes twice: {", ".join(twice)}. '
                         'Remove one of each.')
    return names


def names_in_file(path: str) -> list[str]:
    """The class names in a file; see :func:`read_classes`."""
    kind = osp.splitext(path)[1].lower()
    if kind in ('.yaml', '.yml'):
        names = read_yaml(path).get('names')
        return list(yolo_names(names, path).values())
    if kind != '.json':
        return read_text(path).splitlines()
    raw = read_json(path)
    rows = raw.get('categories') if isinstance(raw, dict) else raw
    if isinstance(rows, list) and all(
            isinstance(r, dict) and isinstance(r.get('name'), str)
            for r in rows):
        return [r['name'] for r in rows]
    if isinstance(rows, list) and all(isinstance(r, str) for r in rows):
        return rows
    raise ValueError(f'{path} has no list of "categories" with names. Give '
                     'a COCO json or a text file with a name on each line.')


def yolo_names(names: object, path: str) -> dict[int, str]:
    """The ``names`` of a YOLO file: class number -> name.

    Args:
        names (list | dict): A list, or a dict of numbers and names.
        path (str): Their file, for the message.

    Raises:
        ValueError: If they are something else.
    """
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        numbered = {int(k): names[k] for k in names}
        wrong = not all(isinstance(n, str) for n in numbered.values())
    except (TypeError, ValueError):
        wrong = True
    if wrong or not numbered:
        raise ValueError(f'{path}: "names" is no list of class names.')
    ordered = sorted(numbered)
    return dict(zip(ordered, check_names(
        (numbered[i] for i in ordered), path)))


def read_text(path: str) -> str:
    """A text file in UTF-8 or, with its mark at the beginning, UTF-16.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is in another encoding.
    """
    with open(path, 'rb') as f:
        content = f.read()
    marked = content[:2] in (b'\xff\xfe', b'\xfe\xff')
    try:
        return content.decode('utf-16' if marked else 'utf-8-sig')
    except UnicodeDecodeError as e:
        raise ValueError(f'{path} is not a text in UTF-8 ({e}). Save it as '
                         'UTF-8.') from e


def read_yaml(path: str) -> dict:
    """A yaml file whose values stay text (``no`` is a class, not False).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not yaml, or no mapping.
    """
    import yaml  # of mmengine, which this module does not need otherwise
    try:
        raw = yaml.load(read_text(path), yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as e:
        raise ValueError(f'{path} is not valid yaml: '
                         f'{" ".join(str(e).split())}') from e
    if not isinstance(raw, dict):
        raise ValueError(f'{path} holds no keys: it is no data.yaml of YOLO.')
    return raw


def nearest_name(name: str, names: Iterable[str]) -> Optional[str]:
    """The one of ``names`` that ``name`` probably means, or None.

    Examples:
        >>> nearest_name('Traffic_Light', ['car', 'traffic light'])
        'traffic light'
    """
    names = list(names)
    # The first of several spellings wins, so it is put in last.
    alike = {_spelling(n): n for n in reversed(names)}
    if _spelling(name) in alike:
        return alike[_spelling(name)]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return close[0] if close else None


def _spelling(name: str) -> str:
    """What two spellings of a class have in common."""
    # Signs stay: "c" and "c+" are two classes.
    name = unicodedata.normalize('NFKC', name).casefold()
    return re.sub(r'[\s_-]+', ' ', name)


def check_spelling(used: Mapping[str, str]) -> None:
    """Refuse classes that differ in case or blanks alone.

    Args:
        used (Mapping[str, str]): Class name -> a file that has it.

    Raises:
        ValueError: If two names are spellings of one.
    """
    first: dict[str, str] = {}
    for name in used:
        other = first.setdefault(_spelling(name), name)
        if other != name:
            raise ValueError(
                f'{used[name]} has an object of class {name!r}, and '
                f'{used[other]} one of class {other!r}. Is it one class? '
                'Correct the files; or, if these are two classes, name them '
                'with --classes.')


def check_known(used: Mapping[str, str], classes: Sequence[str],
                which: str) -> None:
    """Refuse classes that are not among those expected.

    Args:
        used (Mapping[str, str]): Class name -> a file that has it.
        classes (Sequence[str]): The classes expected.
        which (str): What these are, for the message.

    Raises:
        ValueError: If a class is not among them; the nearest is named.
    """
    for name, where in used.items():
        if name not in classes:
            near = nearest_name(name, classes)
            guess = f' (is {near!r} meant?)' if near else ''
            raise ValueError(
                f'{where} has an object of class {name!r}, which is not one '
                f'of {which}{guess}. Correct the file; or, for classes of '
                'your own, name them all with --classes, or take those of '
                'the files with --classes own.')

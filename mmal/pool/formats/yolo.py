"""Labels in YOLO's form: a text file for each photo, a line for each box.

A line is ``class x y width height`` (the centre and the size of the box as
shares of the photo's) or ``class x1 y1 x2 y2 x3 y3 …`` (a polygon, whose box
is taken).
"""
from __future__ import annotations

import os.path as osp
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional, Union

from tqdm import tqdm

from .classes import read_classes, read_text, read_yaml, yolo_names
from .conversion import CocoBuilder, Conversion, Notes
from .photos import (
    PhotoSize,
    is_photo,
    list_files,
    photo_sizes,
    refuse_unreadable,
    stem_of,
)

SPLITS = ('train', 'val', 'valid', 'validation', 'test')
_IMAGE_FOLDERS = ('images', 'jpegimages', 'imgs', 'img')
#: Files that name the classes; those of data.yaml go before all.
YAML_FILES = ('data.yaml', 'data.yml', 'dataset.yaml', 'dataset.yml')
NAME_FILES = ('classes.txt', 'obj.names', 'classes.names', 'names.txt')
# Shares beyond these are no rounding and no box that reaches outside.
_LOWEST, _HIGHEST = -0.5, 1.5


def parse_line(line: str, keypoints: bool = False) -> tuple[int, tuple]:
    """One line of a label file.

    Args:
        line (str): Not blank.
        keypoints (bool): Whether keypoints follow the box.

    Returns:
        tuple[int, tuple[float, float, float, float]]: The number of the
        class; left, top, right, bottom as shares of the photo.

    Raises:
        ValueError: If it is wrong; the message says how.

    Examples:
        >>> parse_line('2 0.5 0.5 0.25 0.5')
        (2, (0.375, 0.25, 0.625, 0.75))
        >>> parse_line('0 0.1 0.1 0.9 0.1 0.5 0.8')
        (0, (0.1, 0.1, 0.9, 0.8))
    """
    first, *texts = line.split()
    try:
        number, values = float(first), [float(t) for t in texts]
    except ValueError:
        raise ValueError('there is something that is no number (decimals '
                         'need a point)') from None
    if not number.is_integer() or not 0 <= number < 2**31:
        raise ValueError(f'the class is {first}, not a number from 0 on')
    if keypoints and len(values) > 4:
        values = values[:4]
    # Taken as labels, predictions would be learned as if people had made
    # them.
    if len(values) == 5:
        raise ValueError('a sixth number, a confidence, follows the box: '
                         'these are predictions, not labels')
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f'{len(values)} numbers follow the class, where 4 '
                         '(a box) or an even number from 6 on (a polygon) '
                         'are needed')
    wrong = [t for t, v in zip(texts, values)
             if not _LOWEST <= v <= _HIGHEST]
    if wrong:
        raise ValueError(f'{wrong[0]} is no share of the photo, from 0 to 1 '
                         '(are these pixels?)')
    if len(values) > 4:
        xs, ys = values[::2], values[1::2]
        return int(number), (min(xs), min(ys), max(xs), max(ys))
    x, y, width, height = values
    if min(width, height) < 0:
        raise ValueError('width or height is below 0')
    return int(number), (x - width / 2, y - height / 2, x + width / 2,
                         y + height / 2)


@dataclass
class YoloFolder:
    """A folder of photos and label files in YOLO's form.

    Label files are in ``labels`` where photos are in ``images``, at any
    depth, in ``labels`` beside the photos, or beside them.

    Args:
        folder (str): The folder.
        photos (list[str]): All its photos, relative to it.
        labels (dict[str, str]): Photo -> its label file; without one it has
            no entry.
        unused (list[str]): Label files without a photo.
        config (dict): The content of ``data.yaml``, if there is one.
        config_path (str): That file, or ''.
    """
    folder: str
    photos: list[str]
    labels: dict[str, str]
    unused: list[str]
    config: dict = field(default_factory=dict)
    config_path: str = ''

    @classmethod
    def open(cls, folder: str) -> YoloFolder:
        """Look at a folder.

        Args:
            folder (str): The folder, or the yaml file in it that describes
                the data.

        Raises:
            ValueError: If it has no photos, or no label file for any.
            OSError: If it cannot be listed.
        """
        path = ''
        if folder.lower().endswith(('.yaml', '.yml')) and osp.isfile(folder):
            folder, path = osp.dirname(osp.abspath(folder)), folder
        names = list_files(folder)
        photos = [n for n in names if is_photo(n)]
        if not photos:
            raise ValueError(f'{folder} has no photos. Give the folder that '
                             'has images and labels in it.')
        texts = {unicodedata.normalize('NFC', n): n
                 for n in names if n.lower().endswith('.txt')}
        labels: dict[str, str] = {}
        for photo in photos:
            for place in label_places(photo):
                if place in texts:
                    labels[photo] = texts[place]
                    break
        if not labels:
            raise ValueError(
                f'no photo of {folder} has a label file: for {photos[0]} '
                f'there is none of {", ".join(label_places(photos[0]))}. '
                'tools/dataset/images2coco.py makes a pool of photos '
                'without labels.')
        # Other text files, such as notes, are no labels that got lost.
        used = set(labels.values())
        folders = {osp.dirname(n) for n in used}
        lists = {*NAME_FILES, *(f'{s}.txt' for s in SPLITS)}
        unused = [n for n in texts.values()
                  if n not in used and osp.dirname(n) in folders
                  and osp.basename(n).lower() not in lists]
        path = path or next(
            (osp.join(folder, n) for n in YAML_FILES if n in names), '')
        config = read_yaml(path) if path else {}
        return cls(folder, photos, labels, unused, config, path)

    @property
    def splits(self) -> dict[str, list[str]]:
        """Its splits, each with its photos: those that ``data.yaml`` names
        and that exist; else by folders called train, val and the like, if
        there are several or all photos are in one; else one, called ``''``.

        Raises:
            ValueError: If a list of images names files that do not exist.
        """
        splits = {name: self._photos_of(self.config[name])
                  for name in SPLITS if self.config.get(name)}
        splits = {name: photos for name, photos in splits.items() if photos}
        if splits:
            return splits
        for photo in self.photos:
            parents = osp.dirname(photo).lower().split('/')
            split = next((p for p in parents if p in SPLITS), '')
            splits.setdefault(split, []).append(photo)
        # A lone folder "test" amid others is a subject, not a split.
        if '' in splits and len(splits) < 3:
            return {'': self.photos}
        return {s: splits[s] for s in SPLITS if s in splits}

    def _photos_of(self, value: Union[str, Sequence[str]]) -> list[str]:
        """Photos of a split: a folder, a list of images, or several."""
        chosen: dict[str, None] = {}
        known = set(self.photos)
        for entry in [value] if isinstance(value, str) else value:
            if not isinstance(entry, str):
                raise ValueError(f'{self.config_path}: {entry!r} is no path '
                                 'of photos.')
            path = self._resolve(entry)
            if path is None:
                continue
            if not osp.isfile(osp.join(self.folder, path)):
                prefix = '' if path == '.' else f'{path}/'
                chosen.update(
                    (p, None) for p in self.photos if p.startswith(prefix))
                continue
            lines = read_text(osp.join(self.folder, path)).splitlines()
            for line in filter(None, map(str.strip, lines)):
                photo = self._resolve(line)
                # Lists carry paths of the machine that wrote them.
                parts = line.replace('\\', '/').split('/')
                while photo not in known and parts:
                    photo = '/'.join(parts)
                    del parts[0]
                if photo not in known:
                    raise ValueError(
                        f'{osp.join(self.folder, path)} names the photo '
                        f'{line}, which is not in {self.folder}. Correct '
                        'the list.')
                chosen[photo] = None
        return list(chosen)

    def _resolve(self, entry: str) -> Optional[str]:
        """A path of ``data.yaml`` or of a list, relative to the folder.

        It may be meant from ``path``, which often is that of another
        machine, or from the folder; exports write ``../train/images`` for
        ``train/images``.
        """
        entry = entry.replace('\\', '/')
        inside = entry
        while inside.startswith('../'):
            inside = inside[len('../'):]
        base = self.config.get('path') or ''
        if not isinstance(base, str):
            base = ''
        for path in (entry, osp.join(base, entry), inside):
            path = osp.normpath(osp.join(self.folder, path))
            relative = osp.relpath(path, self.folder).replace('\\', '/')
            if osp.exists(path) and not relative.startswith('..'):
                return relative
        return None

    def class_names(
            self, given: Union[str, Sequence[str]] = ()) -> dict[int, str]:
        """Class number -> name.

        Args:
            given (str | Sequence[str]): As for
                :func:`~mmal.pool.formats.classes.read_classes`; by default
                those of ``data.yaml``, ``classes.txt`` or ``obj.names``.

        Raises:
            ValueError: If there are none.
        """
        if given:
            return dict(enumerate(read_classes(given)))
        if self.config.get('names'):
            return yolo_names(self.config['names'], self.config_path)
        # LabelImg writes classes.txt beside the label files.
        folders = ['', *sorted({osp.dirname(n)
                                for n in self.labels.values()})]
        for folder in dict.fromkeys(
                f for below in folders for f in (below, osp.dirname(below))):
            for name in NAME_FILES:
                path = osp.join(self.folder, folder, name)
                if osp.isfile(path):
                    return dict(enumerate(read_classes(path)))
        raise ValueError(
            f'{self.folder} has no data.yaml with names and no classes.txt: '
            'give the path of the yaml file, or name the classes with '
            '--classes, in the order of their numbers.')


def label_places(photo: str) -> list[str]:
    """Where the label file of a photo may be, the likeliest first.

    Examples:
        >>> label_places('images/train/a.jpg')[0]
        'labels/train/a.txt'
    """
    folder, name = osp.split(f'{stem_of(photo)}.txt')
    parts = folder.split('/')
    places = []
    for i in reversed(range(len(parts))):
        if parts[i].lower() in _IMAGE_FOLDERS:
            places.append('/'.join([*parts[:i], 'labels', *parts[i + 1:],
                                    name]))
            break
    return [*places, osp.join(folder, name),
            osp.join(folder, 'labels', name)]


def yolo_to_coco(files: YoloFolder,
                 split: str,
                 classes: Mapping[int, str],
                 leave_out_unlabelled: bool = False,
                 skip_unreadable: bool = False) -> Conversion:
    """A split of a folder as a COCO dict.

    Args:
        files (YoloFolder): The folder.
        split (str): One of its splits.
        classes (Mapping[int, str]): Class number -> name.
        leave_out_unlabelled (bool): Leave photos without a label file out.
            By default nothing is on them, as YOLO has it.
        skip_unreadable (bool): Leave photos that cannot be read out.

    Returns:
        Conversion: File names are relative to the folder; image ids count
        from 1; the category ids are the class numbers plus 1.

    Raises:
        ValueError: If the split is unknown, or photos or lines are wrong;
            the message names the first of them.
    """
    splits, notes = files.splits, Notes()
    if split not in splits:
        raise ValueError(
            f'{files.folder} has no split {split!r}. It has '
            f'{", ".join(splits) or "none"}: leave --split out to convert '
            'all of it.')
    photos = []
    for photo in splits[split]:
        if photo in files.labels:
            photos.append(photo)
        elif leave_out_unlabelled:
            notes.add('photos without a label file, left out', photo)
        else:
            notes.add('photos without a label file, taken to have nothing '
                      'on them', photo)
            photos.append(photo)
    for name in files.unused:
        notes.add('label files without a photo, left out', name)
    paths = [osp.join(files.folder, p) for p in photos]
    sizes = photo_sizes(paths)
    unreadable = [(path, size) for path, size in zip(paths, sizes)
                  if isinstance(size, str)]
    refuse_unreadable(unreadable, len(paths), skip_unreadable)

    builder, bad_lines = CocoBuilder(files.folder, notes), []
    keypoints = bool(files.config.get('kpt_shape'))
    for photo, size in tqdm(zip(photos, sizes), total=len(photos),
                            desc=split or osp.basename(files.folder),
                            unit='img'):
        if not isinstance(size, PhotoSize):
            notes.add('unreadable photos, left out', f'{photo}: {size}')
            continue
        entry = builder.add_image(photo, size.width, size.height)
        if photo not in files.labels:
            continue
        label = files.labels[photo]
        boxes, bad = read_label_file(
            osp.join(files.folder, label), classes, keypoints, notes)
        bad_lines += bad
        for number, shares in boxes:
            # Six decimals of a share are a hundredth of a pixel or less.
            corners = [round(share * side, 4) for share, side in zip(
                shares, (size.width, size.height) * 2)]
            builder.add_box(entry, number + 1, corners, label)
    if bad_lines:
        more = len(bad_lines) - 10
        raise ValueError('\n'.join([
            f'{len(bad_lines)} lines of label files are wrong:',
            *(f'  {b}' for b in bad_lines[:10]),
            *([f'  … and {more} more'] if more > 0 else []),
            'Correct or remove them.']))
    categories = [dict(id=i + 1, name=classes[i]) for i in sorted(classes)]
    return Conversion(builder.finish(categories), files.folder, notes)


def read_label_file(
        path: str, classes: Mapping[int, str], keypoints: bool,
        notes: Notes) -> tuple[list[tuple[int, tuple]], list[str]]:
    """The boxes of a label file; repeated lines count once.

    Args:
        path (str): The file.
        classes (Mapping[int, str]): Class number -> name.
        keypoints (bool): Whether keypoints follow the boxes.
        notes (Notes): Gets polygons and repeated lines.

    Returns:
        tuple[list, list[str]]: Boxes as :func:`parse_line` gives them; what
        is wrong, with file and line.

    Raises:
        ValueError: If it is not text.
    """
    boxes, bad_lines, seen = [], [], set()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        line = ' '.join(line.split())
        if line in seen:
            notes.add('lines that stand twice in a label file, taken once',
                      f'{osp.basename(path)}, line {number}')
        if not line or line in seen:
            continue
        seen.add(line)
        try:
            class_number, shares = parse_line(line, keypoints)
            if class_number not in classes:
                raise ValueError(
                    f'there is no class number {class_number}, the names '
                    f'are those of {min(classes)} to {max(classes)}')
        except ValueError as e:
            bad_lines.append(f'{path}, line {number}: {e}: {line[:80]!r}')
            continue
        boxes.append((class_number, shares))
        if len(line.split()) > 5 and not keypoints:
            notes.add('polygons, their boxes taken', osp.basename(path))
    return boxes, bad_lines

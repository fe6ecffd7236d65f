"""Whatever a labelling tool has exported, read: a file, a zip or a folder."""
from __future__ import annotations

import errno
import os.path as osp
import struct
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from mmal.pool.coco import group_by_image, parse_coco, read_content
from .classes import check_names, names_in_file, read_yaml, yolo_names
from .conversion import Notes
from .cvat import read_cvat_xml
from .exchange import (
    LabelBox,
    LabelExport,
    LabelImage,
    numbers,
    parse_xml,
    size_of,
    turned_box,
)
from .fiftyone import is_fiftyone, read_fiftyone
from .label_studio import read_tasks
from .photos import list_files
from .via import is_via, read_via_csv, read_via_json
from .voc import is_difficult
from .yolo import NAME_FILES, YAML_FILES, read_label_file

#: The dialects that are read.
DIALECTS = ('label-studio', 'coco', 'cvat', 'fiftyone', 'via', 'yolo', 'voc')
_YOLO_NAMES = (*YAML_FILES, *NAME_FILES)
_NO_LABELS = ('train.txt', 'val.txt', 'valid.txt', 'test.txt',
              'labelmap.txt')
_TEXTS = ('.json', '.xml', '.csv', '.txt', '.yaml', '.yml', '.names')
# of all texts in a zip, unpacked
_LARGEST_ZIP = 4 * 2**30


def read_export(path: str,
                form: str = 'auto',
                classes: Sequence[str] = (),
                attribute: Optional[str] = None,
                first_pixel: int = 0) -> LabelExport:
    """Read what a labelling tool has exported.

    Args:
        path (str): A json, xml or csv file, a folder, or a zip as tools give
            it, which is read without the photos in it.
        form (str): One of :data:`DIALECTS`, or 'auto' for what it looks like.
        classes (sequence[str]): The classes that were asked for; they tell
            which attribute of VIA holds the class, and name those of YOLO
            files that come without names.
        attribute (str, optional): The attribute of VIA's regions that holds
            the class, or the field of FiftyOne's samples with the boxes.
        first_pixel (int): Where VOC's files count from: labelling tools count
            from 0, VOC itself from 1.

    Returns:
        LabelExport: Of several files (one for each split) all photos.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of the dialects or there is a mistake in it.
    """
    if not osp.exists(path):
        raise FileNotFoundError(f'there is no file or folder {path}.')
    if osp.isfile(path) and zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix='mmal_') as folder:
            _unpack_texts(path, folder)
            try:
                return read_export(folder, form, classes, attribute,
                                   first_pixel)
            except ValueError as e:
                # the folder is gone when the message is read
                raise ValueError(str(e).replace(folder, path)) from e
    found = _files_by_form(path)
    if form != 'auto':
        found = {form: found[form]} if found.get(form) else {}
    if len(found) != 1:
        what = f'no labels in the form of {form}' if form != 'auto' else \
            f'labels of several forms ({", ".join(found)})' if found else \
            'no labels of a known form'
        raise ValueError(
            f'{path} has {what}. Known are {", ".join(DIALECTS)}: choose one '
            'with --format, or export in another form.')
    (form, files), = found.items()
    if form == 'yolo':
        return _read_yolo(path, files, classes)
    if form == 'voc':
        return _read_voc(path, files, first_pixel)
    joined = LabelExport(form, [], [])
    for file, content in files:
        try:
            export = _read_file(form, file, content, classes, attribute)
        except (AttributeError, IndexError, KeyError, TypeError) as e:
            # a list where an object is due, a number where a text is: every
            # value of a file may be of another kind than tools write
            raise ValueError(
                f'{file} is not as {form} writes it ({type(e).__name__}: {e}).'
                ' Export the labels again.') from e
        joined.images += export.images
        joined.classes += export.classes
        joined.notes.merge(export.notes)
    joined.classes = list(dict.fromkeys(joined.classes))
    return joined


def _read_file(form: str, file: str, content: Any, classes: Sequence[str],
               attribute: Optional[str]) -> LabelExport:
    """One file of a dialect; ``content`` is that of a json or xml."""
    if form == 'label-studio':
        return read_tasks(content, file)
    if form == 'cvat':
        return read_cvat_xml(content, file)
    if form == 'fiftyone':
        return read_fiftyone(content, file, attribute)
    if form == 'coco':
        return _read_coco(content, file)
    if file.lower().endswith('.csv'):
        return read_via_csv(file, classes, attribute)
    return read_via_json(content, file, classes, attribute)


def _unpack_texts(path: str, folder: str) -> None:
    """The texts of a zip; photos, which may be gigabytes, stay in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [m for m in archive.infolist()
                     if m.filename.lower().endswith(_TEXTS)]
            if sum(m.file_size for m in texts) > _LARGEST_ZIP:
                raise ValueError(f'{path} holds more than 4 GB of labels: '
                                 'unpack it, and give the folder.')
            for member in texts:
                # keeps every name inside the folder
                archive.extract(member, folder)
    # RuntimeError is that of a zip with a password
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError,
            RuntimeError, struct.error) as e:
        raise ValueError(f'{path} cannot be unpacked ({e}). Download it '
                         'again.') from e
    except OSError as e:
        # of a position before the file, or of bz2; others are of the disk
        if e.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f'{path} cannot be unpacked ({e}). Download it '
                         'again.') from e


def _files_by_form(path: str) -> dict[str, list[tuple[str, Any]]]:
    """The files of each dialect, with the content of those of json and the
    first element of those of xml."""
    if osp.isfile(path):
        paths = [path]
    else:
        paths = [osp.join(path, name) for name in sorted(list_files(path))
                 if name.lower().endswith(_TEXTS)]
    found: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for file in paths:
        name = file.lower()
        if name.endswith('.json'):
            content = read_content(file)
            form = _form_of_json(content, file)
            if form:
                found[form].append((file, content))
        elif name.endswith('.xml'):
            root = parse_xml(file)
            if root.tag in ('annotations', 'annotation'):
                found['cvat' if root.tag == 'annotations' else 'voc'].append(
                    (file, root))
        elif name.endswith('.csv'):
            found['via'].append((file, None))
    texts = [p for p in paths if p.lower().endswith('.txt')]
    has_names = any(osp.basename(p).lower() in _YOLO_NAMES for p in paths)
    if osp.isdir(path) and texts and (has_names or not found):
        found['yolo'] = [(p, None) for p in paths]
    return dict(found)


def _form_of_json(content: Any, path: str) -> Optional[str]:
    """The dialect of a json file; None of one that holds no labels."""
    if isinstance(content, Mapping):
        if isinstance(content.get('images'), list):
            return 'coco'
        return 'via' if is_via(content) else \
            'fiftyone' if is_fiftyone(content) else None
    if isinstance(content, list) and content and all(
            isinstance(row, Mapping) for row in content):
        if all('bbox' in row and 'image_id' in row for row in content):
            raise ValueError(
                f'{path} is a list of detections without the names of the '
                'photos. Export a whole COCO file, with "images".')
        # COCO's categories alone, or a project's labels, are lists as well
        is_tasks = any('data' in row or 'annotation_id' in row
                       or 'annotations' in row for row in content)
        return 'label-studio' if is_tasks else None
    return None


def _read_coco(content: Mapping, path: str) -> LabelExport:
    """A COCO file of any tool, see :mod:`mmal.pool.canonical`."""
    # those are in pixels of the photo itself
    sizeless = {
        i.get('file_name') for i in content['images'] if isinstance(i, dict)
        and not (i.get('width') and i.get('height'))}
    coco = parse_coco({'annotations': [], **content}, path,
                      read_size=lambda name: (1, 1))
    names = {c['id']: c['name'] for c in coco.categories}
    notes, images = Notes(), []
    for line in coco.repairs:
        notes.add(f'repaired: {line}')
    grouped = group_by_image(coco.annotations_of(coco.ids))
    for i, entry in coco.images.items():
        name = entry['file_name']
        image = LabelImage(
            name, None if name in sizeless else
            size_of(entry['width'], entry['height'], f'{path}, {name}'))
        # Roboflow keeps the name that was uploaded
        extra = entry.get('extra')
        for other in (extra.get('name') if isinstance(extra, Mapping)
                      else None, entry.get('path'), entry.get('coco_url')):
            if isinstance(other, str) and other:
                image.other_names.append(other)
        for a in grouped.get(i, ()):
            bbox = tuple(float(v) for v in a['bbox'])
            attributes = a.get('attributes')
            turn = attributes.get('rotation') if isinstance(
                attributes, Mapping) else None
            if turn:  # of CVAT, around the centre
                notes.add('turned boxes, the upright boxes around them taken',
                          name)
                x, y, w, h = bbox
                bbox = turned_box(bbox, numbers([turn], f'{path}, {name}')[0],
                                  (x + w / 2, y + h / 2))
            image.boxes.append(LabelBox(
                names[a['category_id']], bbox,
                is_crowd=bool(a.get('iscrowd') or a.get('ignore'))))
        images.append(image)
    return LabelExport('coco', images, list(names.values()), notes)


def _read_yolo(folder: str, files: Sequence[tuple[str, Any]],
               classes: Sequence[str]) -> LabelExport:
    """Label files of YOLO; photos need not be there."""
    paths = [file for file, _ in files]
    by_name = {osp.basename(p).lower(): p for p in reversed(paths)}
    notes, has_keypoints = Notes(), False
    numbered = dict(enumerate(classes))
    for name in _YOLO_NAMES:
        if name not in by_name:
            continue
        if name.endswith(('.yaml', '.yml')):
            config = read_yaml(by_name[name])
            if not config.get('names'):
                continue
            numbered = yolo_names(config['names'], by_name[name])
            has_keypoints = bool(config.get('kpt_shape'))
        else:
            numbered = dict(enumerate(check_names(
                names_in_file(by_name[name]), by_name[name])))
        break
    else:
        notes.add('the files name no classes: the numbers are taken as those '
                  'of the classes asked for')
    texts = [p for p in paths if p.lower().endswith('.txt')
             and osp.basename(p).lower() not in (*_YOLO_NAMES, *_NO_LABELS)
             and not osp.basename(p).lower().startswith('readme')]
    in_labels = [p for p in texts if _labels_folder(p)]
    images, wrong = [], []
    for p in in_labels or texts:
        boxes, bad = read_label_file(p, numbered, has_keypoints, notes)
        wrong += bad
        name = osp.relpath(p, folder).replace('\\', '/')
        root = _labels_folder(name)
        name = name[len(root):] if root else name
        name = name[:-len('.txt')]
        # Roboflow's names have to end as those of photos to be known again
        if '.rf.' in name and not name.lower().endswith('.jpg'):
            name += '.jpg'
        image = LabelImage(name, is_share=True)
        for number, (left, top, right, bottom) in boxes:
            image.boxes.append(LabelBox(
                numbered[number], (left, top, right - left, bottom - top)))
        images.append(image)
    if wrong:
        more = f'\n  … and {len(wrong) - 10} more' if len(wrong) > 10 else ''
        raise ValueError('lines of label files are wrong:\n  ' +
                         '\n  '.join(wrong[:10]) + more)
    return LabelExport('yolo', images, list(numbered.values()), notes)


def _labels_folder(path: str) -> str:
    """The path up to the folder of label files; '' if there is none."""
    parts = path.replace('\\', '/').split('/')
    for n in reversed(range(len(parts) - 1)):
        # labels of most tools, obj_train_data of CVAT
        if parts[n].lower() == 'labels' or (
                parts[n].lower().startswith('obj_')
                and parts[n].lower().endswith('_data')):
            return '/'.join(parts[:n + 1]) + '/'
    return ''


def _read_voc(folder: str, files: Sequence[tuple[str, Any]],
              first_pixel: int) -> LabelExport:
    """Xml files of VOC as labelling tools write them: with decimals, and
    counted from 0."""
    notes, images = Notes(), []
    for path, root in files:
        size = size_of(root.findtext('size/width'),
                       root.findtext('size/height'), path)
        stem = osp.relpath(path, folder) if osp.isdir(folder) else \
            osp.basename(path)
        stem = osp.splitext(stem)[0].replace('\\', '/').removeprefix(
            'Annotations/')
        name = (root.findtext('filename') or '').strip()
        image = LabelImage(name or stem, size,
                           other_names=[stem] if name else [])
        # "parts" of objects have boxes too, but are no objects
        for n, element in enumerate(root.iterfind('object'), 1):
            label = ' '.join((element.findtext('name') or '').split())
            where = f'{path}, object {n}'
            corners = [element.findtext(f'bndbox/{side}')
                       for side in ('xmin', 'ymin', 'xmax', 'ymax')]
            if not label or None in corners:
                raise ValueError(f'{where} has no class, or no <bndbox> with '
                                 'four sides. Add it, or remove the object.')
            left, top, right, bottom = numbers(corners, where)
            is_ignored = bool(is_difficult(element.findtext('difficult')))
            if is_ignored:
                notes.add('difficult objects, ignored as crowd', path)
            image.boxes.append(LabelBox(
                label, (left - first_pixel, top - first_pixel, right - left,
                        bottom - top), is_crowd=is_ignored))
        images.append(image)
    drawn = dict.fromkeys(b.label for i in images for b in i.boxes)
    return LabelExport('voc', images, list(drawn), notes)

"""The request of a run as a labelling tool imports it, boxes to begin with
included."""
from __future__ import annotations

import json
import os
import os.path as osp
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmal.fileio import write_bytes, write_json, write_text
from .coco import CocoData, some
from .formats.cvat import label_constructor, to_cvat_xml
from .formats.exchange import LabelImage
from .formats.fiftyone import LABELLED_TAG, to_fiftyone
from .formats.label_studio import (
    LabelConfig,
    data_url,
    local_files_url,
    to_tasks,
)
from .formats.photos import stem_of
from .names import is_inside

#: The tools that requests are written for, and the default name for each.
TOOLS = {
    'label-studio': 'label_studio.json',
    'cvat': 'cvat.xml',
    'fiftyone': 'fiftyone',
    'coco': 'coco.json',
    'yolo': 'yolo',
}
# what is written beside the file for a tool
_BESIDE = {'label-studio': '.xml', 'cvat': '_labels.json'}
#: How a tool finds the photos.
IMAGES = ('path', 'local-files', 'upload')


@dataclass(frozen=True)
class ExportedRequest:
    """What was written.

    Args:
        path (str): The file or folder for the tool.
        steps (list[str]): What to do in the tool, a line each.
    """
    path: str
    steps: list[str]


def written_files(tool: str, out: str) -> list[str]:
    """What :func:`export_request` writes.

    Args:
        tool (str): One of :data:`TOOLS`.
        out (str): The file or folder for the tool.

    Returns:
        list[str]: ``out``, and the file beside it that some tools need.
    """
    beside = _BESIDE.get(tool)
    return [out] if beside is None else [out, osp.splitext(out)[0] + beside]


def refuse_to_overwrite(paths: Iterable[str]) -> None:
    """Keep what people may have drawn.

    Args:
        paths (iterable[str]): Files, and folders, which may be empty.

    Raises:
        ValueError: If one is there already; naming it.
    """
    for path in paths:
        if osp.isdir(path) and not os.listdir(path):
            continue
        if osp.lexists(path):
            raise ValueError(
                f'{path} exists and may hold labels that people have drawn. '
                'Import them first, then remove it, or name another place '
                'with --out.')


def export_request(tool: str,
                   images: Sequence[LabelImage],
                   pool: CocoData,
                   img_prefix: str,
                   out: str,
                   how: str = '',
                   root: str = '',
                   prefix: str = '') -> ExportedRequest:
    """Write photos to label, with predicted boxes, for a tool.

    Args:
        tool (str): One of :data:`TOOLS`.
        images (sequence[LabelImage]): The photos, with ``size`` and boxes in
            pixels.
        pool (CocoData): Has the entries of the photos and the classes.
        img_prefix (str): The folder of the photos.
        out (str): The file to write, a folder for 'fiftyone' and 'yolo'.
        how (str): How the tool finds the photos, one of :data:`IMAGES`:
            'path', by their names after ``prefix``; 'local-files' of Label
            Studio, on the disk of the server; 'upload', inside the file
            itself. Default: 'local-files' for Label Studio, else 'path'.
        root (str): Label Studio's LOCAL_FILES_DOCUMENT_ROOT. Default: the
            folder above ``img_prefix``.
        prefix (str): What comes before the names, e.g. the address of a
            server.

    Returns:
        ExportedRequest: The path, and what to do next.

    Raises:
        ValueError: If the tool cannot find photos that way or cannot tell
            two of them apart, a name leads out of ``img_prefix``, or ``out``
            is a folder for 'yolo' that is not empty.
        OSError: If a file cannot be read or written.
    """
    how = how or ('local-files' if tool == 'label-studio' else 'path')
    if how != 'path' and tool != 'label-studio':
        raise ValueError(f'--images {how} is of Label Studio; {tool} finds '
                         'photos by their names: leave it out.')
    if prefix and how != 'path':
        raise ValueError('--prefix comes before names, with --images path.')
    if prefix and tool in ('fiftyone', 'yolo'):
        raise ValueError(f'--prefix makes no sense for {tool}, which reads '
                         'the photos where they are: leave it out.')
    if len({path.lower() for path in written_files(tool, out)}) < len(
            written_files(tool, out)):
        raise ValueError(f'{out} would hold the tasks, and the labelling '
                         'interface as well, which goes into a file of the '
                         'same name with .xml: end --out in .json.')
    classes = list(pool.class_names)
    folder = osp.abspath(img_prefix)
    # Names come with the pool, which others may have made. With the other
    # ways nothing is read or written by them.
    places = [folder] if how != 'path' or tool in ('fiftyone', 'yolo') else []
    if tool == 'yolo':
        places.append(osp.abspath(out))
    for place in places:
        for image in images:
            if not is_inside(osp.join(place, image.name), place):
                raise ValueError(
                    f'the file name {image.name!r} leads out of {place}: '
                    'nothing is read or written there. Give the pool names '
                    'below the folder of its photos, or send the names alone, '
                    'e.g. with --to coco.')
    if tool in ('fiftyone', 'yolo'):
        by_stem = defaultdict(list)
        for image in images:
            by_stem[stem_of(image.name)].append(image.name)
        alike = [n for names in by_stem.values() if len(names) > 1
                 for n in names]
        if alike:
            raise ValueError(
                f'{tool} knows photos by their names without the extension, '
                f'so it cannot tell {some(alike)} apart. Choose another tool '
                'with --to.')
    if tool == 'label-studio':
        root = osp.abspath(root) if root else osp.dirname(folder)
        if how == 'local-files' and osp.commonpath([root, folder]) != root:
            raise ValueError(
                f'the photos are in {folder}, which is not below {root}: '
                "--root must be the server's LOCAL_FILES_DOCUMENT_ROOT, above "
                'them; or send the photos along with --images upload.')
        return _for_label_studio(images, classes, folder, out, how, root,
                                 prefix)
    for image in images if prefix else ():
        image.name = prefix + image.name
    if tool == 'cvat':
        return _for_cvat(images, classes, folder, out)
    if tool == 'coco':
        return _as_coco(images, pool, folder, out, prefix)
    if tool == 'fiftyone':
        return _for_fiftyone(images, classes, folder, out)
    return _as_yolo(images, classes, folder, out)


def _for_label_studio(images: Sequence[LabelImage], classes: Sequence[str],
                      folder: str, out: str, how: str, root: str,
                      prefix: str) -> ExportedRequest:

    def address(name: str) -> str:
        if how == 'upload':
            return data_url(osp.join(folder, name))
        if how == 'local-files':
            path = osp.relpath(osp.join(folder, name), root)
            return local_files_url(path.replace('\\', '/'))
        return prefix + name

    config = LabelConfig(tuple(classes))
    _, config_path = written_files('label-studio', out)
    write_json(out, to_tasks(images, config, address))
    write_text(config_path, config.xml())
    steps = [f'in a new project, paste {config_path} under Labeling Setup, '
             'Custom template', f'import {out} there (its predictions show '
             'when "Use predictions to prelabel tasks" is on)']
    if how == 'local-files':
        steps = [
            'start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true '
            f'LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shlex.quote(root)} '
            'label-studio',
            *steps, f'add the folder {folder} to the project as a storage '
            'of local files, without a sync']
    return ExportedRequest(out, [*steps, 'label, and export as JSON'])


def _for_cvat(images: Sequence[LabelImage], classes: Sequence[str],
              folder: str, out: str) -> ExportedRequest:
    _, labels = written_files('cvat', out)
    write_bytes(out, to_cvat_xml(images, classes))
    write_json(labels, label_constructor(classes), indent=1)
    return ExportedRequest(out, [
        f'make a task with the photos of {folder} that to_label.txt lists; '
        f'its labels are {labels} (tab Raw)',
        f'Upload annotations of the task: CVAT 1.1, {out}',
        'label, and export it as CVAT for images 1.1'])


def _as_coco(images: Sequence[LabelImage], pool: CocoData, folder: str,
             out: str, prefix: str) -> ExportedRequest:
    ids = {c['name']: c['id'] for c in pool.categories}
    by_name = {prefix + entry['file_name']: i
               for i, entry in pool.images.items()}
    rows = []
    for image in images:
        for box in image.boxes:
            row = dict(
                id=len(rows) + 1, image_id=by_name[image.name],
                category_id=ids[box.label], bbox=list(box.bbox),
                area=box.bbox[2] * box.bbox[3], iscrowd=0, segmentation=[])
            if box.score is not None:
                row['score'] = box.score
            if box.note:
                row['attributes'] = dict(note=box.note)
            rows.append(row)
    chosen = [by_name[image.name] for image in images]
    content = pool.subset(chosen, rows)
    content['images'] = [dict(i, file_name=prefix + i['file_name'])
                         for i in content['images']]
    write_json(out, content)
    return ExportedRequest(out, [
        f'open {out} in the tool, with the photos of {folder}',
        'label, and export as COCO'])


def _for_fiftyone(images: Sequence[LabelImage], classes: Sequence[str],
                  folder: str, out: str) -> ExportedRequest:
    write_json(osp.join(out, 'labels.json'), to_fiftyone(images, classes))
    # it takes what follows the last dot of these names for an extension, so
    # each must have one: photo.1.jpg is photo.1 then
    write_json(osp.join(out, 'data.json'), {
        stem_of(i.name) + osp.splitext(i.name)[1]: osp.join(folder, i.name)
        for i in images})
    # without rel_dir, photos of the same name in two folders get new names
    return ExportedRequest(out, [
        f'import fiftyone as fo; dataset = fo.Dataset.from_dir({out!r}, '
        'data_path="data.json", '
        'dataset_type=fo.types.FiftyOneImageDetectionDataset)',
        f'label; give the tag "{LABELLED_TAG}" to each sample that is done',
        'dataset.export("exported", dataset_type=fo.types.FiftyOneDataset, '
        f'export_media=False, rel_dir={folder!r})'])


def _as_yolo(images: Sequence[LabelImage], classes: Sequence[str],
             folder: str, out: str) -> ExportedRequest:
    # tools save where the request is, and old photos would stay
    refuse_to_overwrite([out])
    numbers = {name: n for n, name in enumerate(classes)}
    # the yaml is a json too, so that every class name is quoted right; the
    # numbers of a json's keys would be texts, so classes are a list
    write_text(osp.join(out, 'data.yaml'), json.dumps(dict(
        path=osp.abspath(out), train='images', val='images', nc=len(classes),
        names=classes), ensure_ascii=False, indent=1))
    write_text(osp.join(out, 'classes.txt'),
               ''.join(f'{name}\n' for name in classes))
    for image in images:
        width, height = image.size
        lines = []
        for box in image.boxes:
            x, y, w, h = box.bbox
            shares = ((x + w / 2) / width, (y + h / 2) / height, w / width,
                      h / height)
            lines.append(f'{numbers[box.label]} ' +
                         ' '.join(f'{share:.9f}' for share in shares))
        write_text(osp.join(out, 'labels', f'{stem_of(image.name)}.txt'),
                   ''.join(f'{line}\n' for line in lines))
        photo = osp.join(out, 'images', image.name)
        if not osp.lexists(photo):
            os.makedirs(osp.dirname(photo), exist_ok=True)
            try:
                os.symlink(osp.join(folder, image.name), photo)
            except OSError:  # Windows lets not everybody make links
                shutil.copyfile(osp.join(folder, image.name), photo)
    return ExportedRequest(out, [
        f'open {out} in the tool', 'label, and export as YOLO, or save '
        'there; YOLO files know no scores'])

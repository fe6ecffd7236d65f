"""Whatever somebody has, photos or labels of some form, as a pool."""
from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from typing import Optional, Union

from mmal.pool.reading import load_with_images
from .classes import read_classes
from .conversion import Conversion, Notes
from .folder import folder_to_coco
from .photos import is_photo, list_files
from .voc import choose_classes, read_voc, voc_to_coco
from .yolo import YoloFolder, label_places, yolo_to_coco

FORMS = ('images', 'voc', 'yolo', 'coco')


def recognise(source: str) -> str:
    """The form of a file or folder.

    Args:
        source (str): A COCO json, the ``data.yaml`` of a YOLO data set, or a
            folder.

    Returns:
        str: One of :data:`FORMS`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a file is of another kind, or a folder has labels of
            two forms.
    """
    if osp.isfile(source):
        name = source.lower()
        if name.endswith(('.json', '.json.gz')):
            return 'coco'
        if name.endswith(('.yaml', '.yml')):
            return 'yolo'
        raise ValueError(
            f'{source} is no pool: give a folder of photos, a COCO json, or '
            'the data.yaml of a YOLO data set.')
    if not osp.isdir(source):
        raise FileNotFoundError(f'there is no file or folder {source}.')
    names = list_files(source)
    texts = {n for n in names if n.lower().endswith('.txt')}
    has_xml = any(n.lower().endswith('.xml') for n in names)
    # a text file is a label only where a photo has that name: notes and
    # lists of classes lie in folders of photos, too
    has_texts = any(place in texts for name in names if is_photo(name)
                    for place in label_places(name))
    if has_xml and has_texts:
        raise ValueError(
            f'{source} has xml files, as VOC has, and text files beside '
            'photos, as YOLO has. Say which are the labels: --format voc, '
            '--format yolo, or --format images for photos without labels.')
    return 'voc' if has_xml else 'yolo' if has_texts else 'images'


def read_pool(source: str,
              form: str,
              classes: Union[str, Sequence[str]] = (),
              splits: Sequence[str] = (),
              earlier: str = '',
              img_prefix: Optional[str] = None,
              skip_unreadable: bool = False) -> Conversion:
    """The pool of a file or folder, in the form of a COCO file.

    Args:
        source (str): See :func:`recognise`.
        form (str): One of :data:`FORMS`.
        classes (str | sequence[str]): As for
            :func:`~mmal.pool.formats.classes.read_classes`; needed for
            photos without labels, and by default those of the labels.
        splits (sequence[str]): The splits that are taken, of VOC or YOLO, by
            default all.
        earlier (str): The COCO json that was made of photos before, whose
            ids they keep; it need not exist.
        img_prefix (str, optional): The folder that file names of a COCO json
            are relative to, by default the json's own. Photos are read where
            the json does not say how large they are.
        skip_unreadable (bool): Leave photos of ``images`` and ``yolo`` that
            cannot be read out.

    Returns:
        Conversion: An image that is in several splits is in it once.

    Raises:
        ValueError: If something is given that the form does not have, or is
            missing that it needs; and see the readers of the forms.
        OSError: If files cannot be read.
    """
    if splits and form not in ('voc', 'yolo'):
        raise ValueError(f'{source} has no splits: they are a matter of voc '
                         f'and yolo, and this is {form}.')
    if form == 'images':
        if not classes:
            raise ValueError(
                f'{source} has photos without labels, so name the classes: '
                '--classes helmet vest, a file with a name on each line, or '
                'the COCO json of images that are labelled already.')
        if not isinstance(classes, str) and len(classes) == 1:
            classes = classes[0]
        return folder_to_coco(source, classes, earlier, skip_unreadable)
    if form == 'coco':
        return _read_coco(source, classes,
                          img_prefix or osp.dirname(source) or '.')
    if form == 'voc':
        sets = [read_voc(osp.abspath(source), s) for s in splits or ['']]
        names = choose_classes(sets, classes)
        return _join([voc_to_coco(s, names) for s in sets])
    files = YoloFolder.open(osp.abspath(source))
    numbered = files.class_names(classes)
    return _join([yolo_to_coco(files, s, numbered,
                               skip_unreadable=skip_unreadable)
                  for s in splits or files.splits])


def _read_coco(path: str, classes: Union[str, Sequence[str]],
               img_prefix: str) -> Conversion:
    coco = load_with_images(path, img_prefix, need_annotations=False)
    if classes and tuple(read_classes(classes)) != coco.class_names:
        raise ValueError(
            f'{path} has the classes {", ".join(coco.class_names)}, and '
            '--classes names others. Leave --classes out.')
    notes = Notes()
    for line in coco.repairs:
        notes.add(f'repaired: {line}')
    return Conversion(coco.subset(coco.ids, coco.annotations_of(coco.ids)),
                      img_prefix, notes)


def _join(parts: Sequence[Conversion]) -> Conversion:
    """Splits of one folder, with the same classes, as one; ids count on."""
    images, annotations, notes = [], [], Notes()
    known: set[str] = set()
    for part in parts:
        notes.merge(part.notes)
        ids = {}
        for image in part.coco['images']:
            if image['file_name'] in known:
                notes.add('images that are in two splits, taken once',
                          image['file_name'])
                continue
            known.add(image['file_name'])
            ids[image['id']] = len(images) + 1
            images.append(dict(image, id=ids[image['id']]))
        for annotation in part.coco['annotations']:
            if annotation['image_id'] in ids:
                annotations.append(dict(
                    annotation, id=len(annotations) + 1,
                    image_id=ids[annotation['image_id']]))
    return Conversion(
        dict(images=images, annotations=annotations,
             categories=parts[0].coco['categories']),
        parts[0].img_prefix, notes)

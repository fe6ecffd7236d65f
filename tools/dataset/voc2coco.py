"""PASCAL VOC annotations as COCO json files.

    python tools/dataset/voc2coco.py data/VOCdevkit/VOC2012

writes ``voc2012_train.json`` and ``voc2012_val.json`` into
``data/VOCdevkit/annotations``. File names are relative to ``JPEGImages``.

    python tools/dataset/voc2coco.py data/VOCdevkit/VOC2007 \\
        data/VOCdevkit/VOC2012 --split trainval --merge voc0712_trainval

writes the image sets of several folders into one file,
``voc0712_trainval.json``. File names are relative to ``data/VOCdevkit``, such
as ``VOC2007/JPEGImages/000005.jpg``, and ids count on from folder to folder.

Boxes are ``[xmin - 1, ymin - 1, xmax - xmin, ymax - ymin]``, the values that
mmdet's ``VOCDataset`` trains on. Difficult objects get ``iscrowd=1``: training
and evaluation ignore them and they do not count as boxes, as in VOC's own
protocol. With ``--difficult keep`` they are objects like all others.
"""
import argparse
import os.path as osp
import xml.etree.ElementTree as ElementTree
from typing import Dict, List, Optional, Tuple

from tqdm import tqdm

from mmal.fileio import write_json

CLASSES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car',
           'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike',
           'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')


def convert(voc_dir: str, split: str, difficult: str = 'ignore') -> Dict:
    """One image set as a COCO dict.

    Args:
        voc_dir (str): Folder with Annotations and ImageSets/Main.
        split (str): Name of a list in ImageSets/Main, e.g. 'train'.
        difficult (str): 'ignore' marks difficult objects as crowd, 'keep'
            leaves them like all others.

    Returns:
        dict: Image ids count from 1 in the order of the list.

    Raises:
        SystemExit: If a file is missing or cannot be parsed, or a class is
            not one of VOC's; the message names the file.
    """
    images, annotations = [], []
    names = read_list(voc_dir, split)
    for image_id, name in enumerate(tqdm(names, desc=split, unit='img'), 1):
        path = osp.join(voc_dir, 'Annotations', f'{name}.xml')
        root = _parse(path)
        images.append(_image(root, image_id, name, path))
        for item in root.iter('object'):
            annotations.append({
                'id': len(annotations) + 1,
                'image_id': image_id,
                **_annotation(item, path, difficult)
            })
    categories = [{'id': i, 'name': n} for i, n in enumerate(CLASSES, 1)]
    return {
        'images': images,
        'annotations': annotations,
        'categories': categories
    }


def merge(parts: List[Tuple[str, Dict]]) -> Dict:
    """Several image sets as one COCO dict.

    Args:
        parts (list[tuple[str, dict]]): The folder of each, whose name begins
            its file names, and the result of :func:`convert`.

    Returns:
        dict: Ids count on from one set to the next.

    Raises:
        SystemExit: If an image is in two of them.
    """
    images, annotations, seen = [], [], set()
    for voc_dir, coco in parts:
        prefix = f'{osp.basename(voc_dir)}/JPEGImages'
        shift, boxes = len(images), len(annotations)
        for image in coco['images']:
            name = f'{prefix}/{image["file_name"]}'
            if name in seen:
                raise SystemExit(
                    f'{name} is in two of the image sets to be merged. Give '
                    'each folder once, and image sets that share no image.')
            seen.add(name)
            images.append({**image, 'id': image['id'] + shift,
                           'file_name': name})
        annotations += [{
            **a, 'id': a['id'] + boxes,
            'image_id': a['image_id'] + shift
        } for a in coco['annotations']]
    return {**parts[0][1], 'images': images, 'annotations': annotations}


def read_list(voc_dir: str, split: str) -> List[str]:
    """The image names of ``ImageSets/Main/<split>.txt``."""
    path = osp.join(voc_dir, 'ImageSets', 'Main', f'{split}.txt')
    try:
        with open(path, encoding='utf-8') as f:
            return [line.split()[0] for line in f if line.strip()]
    except OSError as e:
        raise SystemExit(
            f'{path}: {e.strerror}. Give the folder of one VOC year, e.g. '
            'data/VOCdevkit/VOC2012, with Annotations, ImageSets and '
            'JPEGImages in it.') from e


def _parse(path: str) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except OSError as e:
        raise SystemExit(f'{path}: {e.strerror}. Unpack the data set '
                         'again.') from e
    except ElementTree.ParseError as e:
        raise SystemExit(f'{path} is not valid XML ({e}). Unpack the data '
                         'set again.') from e


def _image(root: ElementTree.Element, image_id: int, name: str,
           path: str) -> Dict:
    try:
        width, height = (int(root.findtext(f'size/{side}'))
                         for side in ('width', 'height'))
    except (TypeError, ValueError) as e:
        raise SystemExit(f'{path} has no image size.') from e
    return {
        'id': image_id,
        'file_name': root.findtext('filename') or f'{name}.jpg',
        'width': width,
        'height': height
    }


def _annotation(item: ElementTree.Element, path: str, difficult: str) -> Dict:
    name = item.findtext('name')
    if name not in CLASSES:
        raise SystemExit(f'{path} has an object of class {name!r}, which is '
                         'not one of the 20 classes of VOC.')
    try:
        left, top, right, bottom = (
            int(float(item.findtext(f'bndbox/{side}')))
            for side in ('xmin', 'ymin', 'xmax', 'ymax'))
    except (TypeError, ValueError) as e:
        raise SystemExit(f'{path} has an object ({name}) without a '
                         'box.') from e
    hard = int(item.findtext('difficult') or 0)
    width, height = right - left, bottom - top
    return {
        'category_id': CLASSES.index(name) + 1,
        'bbox': [left - 1, top - 1, width, height],
        'area': width * height,
        'iscrowd': int(bool(hard) and difficult == 'ignore')
    }


def parse_args(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'voc_dirs', nargs='+', metavar='voc_dir',
        help='e.g. data/VOCdevkit/VOC2012')
    parser.add_argument('--split', nargs='+', default=['train', 'val'])
    parser.add_argument(
        '--merge', metavar='NAME', help='write one file, NAME.json')
    parser.add_argument('--out-dir', help='default: annotations beside it')
    parser.add_argument(
        '--difficult', choices=('ignore', 'keep'), default='ignore')
    args = parser.parse_args(argv)
    args.voc_dirs = [osp.abspath(folder) for folder in args.voc_dirs]
    if args.merge and len({osp.dirname(d) for d in args.voc_dirs}) > 1:
        parser.error('--merge needs folders that lie beside each other, as in '
                     'data/VOCdevkit: file names are relative to that folder.')
    return args


def write(folder: str, name: str, coco: Dict) -> None:
    """Write ``<name>.json`` and say what it holds."""
    path = osp.join(folder, f'{name}.json')
    write_json(path, coco)
    print(f'{path}: {len(coco["images"])} images, '
          f'{len(coco["annotations"])} objects')


def main(argv: Optional[List[str]] = None) -> None:
    """Command line; see the module's text."""
    args = parse_args(argv)
    parts = []
    for voc_dir in args.voc_dirs:
        out_dir = args.out_dir or osp.join(osp.dirname(voc_dir), 'annotations')
        for split in args.split:
            coco = convert(voc_dir, split, args.difficult)
            parts.append((voc_dir, coco))
            if not args.merge:
                write(out_dir, f'{osp.basename(voc_dir).lower()}_{split}',
                      coco)
    if args.merge:
        write(out_dir, args.merge, merge(parts))


if __name__ == '__main__':
    main()

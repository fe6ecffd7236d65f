"""Annotations in PASCAL VOC's xml form as COCO json files.

    python tools/dataset/voc2coco.py data/VOCdevkit/VOC2012

writes ``voc2012_train.json`` and ``voc2012_val.json`` into
``data/VOCdevkit/annotations``. File names are relative to ``JPEGImages``.

    python tools/dataset/voc2coco.py data/VOCdevkit/VOC2007 \\
        data/VOCdevkit/VOC2012 --split trainval --merge voc0712_trainval

writes the image sets of several folders into one file,
``voc0712_trainval.json``. File names are relative to ``data/VOCdevkit``, such
as ``VOC2007/JPEGImages/000005.jpg``, and ids count on from folder to folder.

    python tools/dataset/voc2coco.py data/helmets

does the same for photos and xml files of your own, as LabelImg writes them:
beside each other or in JPEGImages and Annotations. Without ImageSets all of
them become ``data/annotations/helmets.json``.

Classes are VOC's 20 if the files have no others, else those of the files in
alphabetical order; all files of one command have the same.

Boxes are ``[xmin - 1, ymin - 1, xmax - xmin, ymax - ymin]``, the values that
mmdet's ``VOCDataset`` trains on, cut at the border of the image. Difficult
objects get ``iscrowd=1``: training and evaluation ignore them and they do not
count as boxes, as in VOC's own protocol. With ``--difficult keep`` they are
objects like all others.
"""
import argparse
import os.path as osp
from typing import List, Optional

from mmal.fileio import write_json
from mmal.pool.formats import (
    VocFolder,
    choose_classes,
    merge_voc,
    read_voc,
    voc_to_coco,
)


def parse_args(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'voc_dirs', nargs='+', metavar='voc_dir',
        help='e.g. data/VOCdevkit/VOC2012')
    parser.add_argument(
        '--split', nargs='+', help='lists in ImageSets/Main (default: train '
        'and val, or all xml files where there are no lists)')
    parser.add_argument(
        '--classes', nargs='+', default=[], metavar='NAME',
        help='names in order, or a file with them; "voc": VOC\'s 20; "own": '
        'those of the files')
    parser.add_argument(
        '--merge', metavar='NAME', help='write one file, NAME.json')
    parser.add_argument('--out-dir', help='default: annotations beside it')
    parser.add_argument(
        '--difficult', choices=('ignore', 'keep'), default='ignore')
    parser.add_argument(
        '--zero-based', action='store_true', help='the tool that made the '
        'files counts pixels from 0, VOC counts from 1')
    args = parser.parse_args(argv)
    args.voc_dirs = [osp.abspath(folder) for folder in args.voc_dirs]
    if args.merge and len({osp.dirname(d) for d in args.voc_dirs}) > 1:
        parser.error('--merge needs folders that lie beside each other, as in '
                     'data/VOCdevkit: file names are relative to that folder.')
    return args


def convert(args: argparse.Namespace) -> None:
    """Read everything, then write: after an error no file is new."""
    sets = []
    for folder in args.voc_dirs:
        splits = VocFolder(folder).splits
        if splits == [''] and len(args.split or '') > 1:
            raise ValueError(
                f'{folder} has no ImageSets that say which images are '
                f'{" and which ".join(args.split)}: leave --split out to '
                'convert all of them.')
        sets += [read_voc(folder, s) for s in args.split or splits]
    classes = choose_classes(sets, args.classes)
    conversions = [
        voc_to_coco(s, classes, args.difficult, int(not args.zero_based))
        for s in sets]
    names = [f'{osp.basename(s.folder).lower()}' +
             (f'_{s.split}' if s.split else '') for s in sets]
    if args.merge:
        conversions, names = [merge_voc(sets, conversions)], [args.merge]
    for one_set, conversion, name in zip(sets, conversions, names):
        out_dir = args.out_dir or osp.join(
            osp.dirname(one_set.folder), 'annotations')
        path = osp.join(out_dir, f'{name}.json')
        write_json(path, conversion.coco)
        print(conversion.summary(path))


def main(argv: Optional[List[str]] = None) -> None:
    """Command line; see the module's text."""
    args = parse_args(argv)
    try:
        convert(args)
    except (ValueError, OSError) as e:
        raise SystemExit(str(e)) from e


if __name__ == '__main__':
    main()

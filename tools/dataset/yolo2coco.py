"""Photos with labels in YOLO's form as COCO json files.

    python tools/dataset/yolo2coco.py data/helmets

writes a file for each split, such as ``helmets_train.json``, into
``data/annotations``; ``helmets.json`` where there are no splits. File names
are relative to ``data/helmets``.

Labels are text files in ``labels`` (photos in ``images``) or beside the
photos; splits are those of ``data.yaml``, or folders called train, val and
the like. Names of classes are those of ``data.yaml``, ``classes.txt`` or
``obj.names``. Polygons become boxes.
"""
import argparse
import os.path as osp
from typing import List, Optional

from mmal.fileio import write_json
from mmal.pool.formats import YoloFolder, yolo_to_coco


def parse_args(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'yolo_dir', help='folder of photos and labels, or its data.yaml')
    parser.add_argument('--split', nargs='+', help='default: all')
    parser.add_argument(
        '--classes', nargs='+', default=[], metavar='NAME',
        help='names in the order of their numbers, or a file with them')
    parser.add_argument(
        '--out-dir', help='default: annotations beside the folder')
    parser.add_argument(
        '--leave-out-unlabelled', action='store_true',
        help='leave photos without a label file out (default: nothing is on '
        'them)')
    parser.add_argument(
        '--skip-unreadable', action='store_true',
        help='leave photos that cannot be read out (default: an error)')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    """Read everything, then write: after an error no file is new."""
    files = YoloFolder.open(osp.abspath(args.yolo_dir))
    classes = files.class_names(args.classes)
    splits = files.splits
    conversions = {
        split: yolo_to_coco(files, split, classes, args.leave_out_unlabelled,
                            args.skip_unreadable)
        for split in args.split or splits}
    out_dir = args.out_dir or osp.join(
        osp.dirname(files.folder), 'annotations')
    name = osp.basename(files.folder).lower()
    for split, conversion in conversions.items():
        path = osp.join(out_dir, f'{name}_{split}.json' if split
                        else f'{name}.json')
        write_json(path, conversion.coco)
        print(conversion.summary(path))
    elsewhere = set(files.photos).difference(*splits.values())
    if elsewhere:
        print(f'photos in no split, left out: {len(elsewhere)} '
              f'({min(elsewhere)!r} is one)')


def main(argv: Optional[List[str]] = None) -> None:
    """Command line; see the module's text."""
    args = parse_args(argv)
    try:
        convert(args)
    except (ValueError, OSError) as e:
        raise SystemExit(str(e)) from e


if __name__ == '__main__':
    main()

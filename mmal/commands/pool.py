"""Make a pool, a COCO json, of photos, or of labels in VOC's or YOLO's form.

The kind of the source is recognised: a folder of photos, with xml files (VOC)
or text files (YOLO) or neither; the data.yaml of a YOLO data set; a COCO
json, which is checked and repaired.
"""
from __future__ import annotations

import argparse
import os.path as osp

# as in mmal.pool.formats.source, which is imported later
FORMS = ('images', 'voc', 'yolo', 'coco')

EXAMPLES = """examples:
  mmal pool photos -o pool.json --classes helmet vest
  mmal pool photos -o pool.json --classes labelled.json
  mmal pool data/VOCdevkit/VOC2012 -o voc.json --split trainval
  mmal pool data/helmets/data.yaml -o helmets.json
  mmal pool export.json -o pool.json --images photos

Photos in folders below are taken as well. Run again after the folder has
grown, photos without labels keep their ids.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('source', help='folder, data.yaml or COCO json')
    parser.add_argument(
        '-o', '--out', required=True, metavar='POOL.json',
        help='COCO json to write')
    parser.add_argument(
        '--classes', nargs='+', default=[], metavar='NAME',
        help='names in order, or a file with a name on each line, or a COCO '
        'json that has them (default: those of the labels)')
    parser.add_argument(
        '--format', choices=FORMS, help='default: what the source looks like')
    parser.add_argument(
        '--split', nargs='+', default=[], metavar='NAME',
        help='splits of VOC or YOLO to take, such as train (default: all)')
    parser.add_argument(
        '--images', metavar='FOLDER', help='folder that file names of a COCO '
        'json are relative to (default: the folder of the json)')
    parser.add_argument(
        '--skip-unreadable', action='store_true',
        help='leave photos that cannot be read out (default: an error)')


def check_arguments(args: argparse.Namespace) -> None:
    """Check the name of the pool.

    Raises:
        ValueError: If it does not end in .json, or is the source's.
    """
    if not args.out.lower().endswith('.json'):
        raise ValueError(f'{args.out} must end in .json.')
    if osp.realpath(args.out) == osp.realpath(args.source):
        raise ValueError(f'{args.out} is the source itself: give the pool '
                         'another name.')


def run(args: argparse.Namespace) -> None:
    """Read the source, write the pool, and say what is in it."""
    from mmal.fileio import write_json
    from mmal.pool.coco import parse_coco
    from mmal.pool.duplicates import duplicates_note, look_alikes_note
    from mmal.pool.formats import read_pool, recognise
    form = args.format or recognise(args.source)
    # a pool of photos may be made again, for it has no labels to lose
    if form != 'images' and osp.exists(args.out):
        raise ValueError(f'{args.out} exists and may hold labels. Give '
                         'another name, or remove it first.')
    pool = read_pool(args.source, form, args.classes, args.split, args.out,
                     args.images, args.skip_unreadable)
    write_json(args.out, pool.coco)
    print(f'{args.source} is read as {form}')
    print(pool.summary(args.out))
    coco = parse_coco(pool.coco, args.out)
    for note in (duplicates_note, look_alikes_note):
        text = note(coco, pool.img_prefix)
        if text:
            print(text)

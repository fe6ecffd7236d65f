"""Images of a COCO json so that some classes are rare, as another one.

    python tools/dataset/draw_longtail.py pool.json pool_longtail.json \\
        --images rolled-in_scale=225 crazing=150 inclusion=75 patches=40 \\
        pitted_surface=20 scratches=10

An image belongs to the class that it has most boxes of (the first one in the
file, where several have as many), and of each class so many images are drawn
at random. They keep all their boxes, also of other classes, which is printed.
Images without boxes, and those of classes that are not named, are left out.
More images of a class contain those that fewer are with the same seed.
"""
import argparse
import os.path as osp
import sys

import numpy as np

from mmal.commands.errors import run_or_explain
from mmal.pool import load_coco, write_split
from mmal.randomness import seeded_order


def class_and_number(text):
    name, _, number = text.rpartition('=')
    if not name or not number.isdigit():
        raise argparse.ArgumentTypeError(
            f'{text!r} is no CLASS=IMAGES: write e.g. scratches=10.')
    return name, int(number)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ann_file', help='COCO json of all images')
    parser.add_argument('out_file', help='COCO json to write')
    parser.add_argument(
        '--images', nargs='+', required=True, type=class_and_number,
        metavar='CLASS=IMAGES', help='how many images of each class')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


def draw(args):
    coco = load_coco(args.ann_file)
    if osp.exists(args.out_file) and osp.samefile(args.ann_file,
                                                  args.out_file):
        raise ValueError(
            f'{args.out_file} is the file to draw from, whose other images '
            'would be lost: give another name to what is written.')
    names = [category['name'] for category in coco.categories]
    table = coco.table()
    boxes = np.zeros((len(coco.ids), len(names)), int)
    np.add.at(boxes, (table.images, table.categories), 1)
    main_class = np.where(boxes.any(1), boxes.argmax(1), -1)

    chosen = []
    for name, number in args.images:
        if name not in names:
            raise ValueError(f'--images {name}={number}: the classes of '
                             f'{args.ann_file} are {", ".join(names)}.')
        at = np.flatnonzero(main_class == names.index(name))
        if number > len(at):
            raise ValueError(
                f'--images {name}={number}: {args.ann_file} has '
                f'{len(at)} images of this class. Give at most that many.')
        chosen += seeded_order([coco.ids[n] for n in at], 'long tail', name,
                               args.seed, first=number)
    kept = set(chosen)
    ids = [i for i in coco.ids if i in kept]
    write_split(args.out_file, coco, ids, coco.annotations_of(ids))
    counts = boxes[[i in kept for i in coco.ids]].sum(0)
    print(f'{args.out_file}: {len(ids)} images, boxes: ' + ', '.join(
        f'{name} {count}' for name, count in zip(names, counts.tolist())))


def main(argv=None):
    args = parse_args(argv)
    return run_or_explain(lambda: draw(args), osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())

"""Random images of a COCO json, with their annotations, as another one.

    python tools/dataset/draw_subset.py all.json some.json --size 5000

They are the images that a run of active learning with ``initial.size`` 5000
and the same ``seed`` labels first.
"""
import argparse
import os.path as osp
import sys

from mmal.commands.errors import run_or_explain
from mmal.pool import draw_initial, load_coco, write_split


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ann_file', help='COCO json of all images')
    parser.add_argument('out_file', help='COCO json to write')
    parser.add_argument('--size', type=int, required=True, help='images')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


def draw(args):
    coco = load_coco(args.ann_file)
    if osp.exists(args.out_file) and osp.samefile(args.ann_file,
                                                  args.out_file):
        raise ValueError(
            f'{args.out_file} is the file to draw from, whose other images '
            'would be lost: give another name to what is written.')
    if not 0 < args.size <= len(coco.ids):
        raise ValueError(f'--size is {args.size}: {args.ann_file} has '
                         f'{len(coco.ids)} images, so give 1 to that many.')
    ids = draw_initial(coco.ids, args.size, args.seed)
    annotations = coco.annotations_of(ids)
    write_split(args.out_file, coco, ids, annotations)
    print(f'{args.out_file}: {len(ids)} images, {len(annotations)} objects')


def main(argv=None):
    args = parse_args(argv)
    return run_or_explain(lambda: draw(args), osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())

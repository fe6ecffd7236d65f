"""A folder of photos without labels as a pool, a COCO json file.

    python tools/dataset/images2coco.py data/photos classes.txt pool.json

writes ``data/annotations/pool.json``, as mmdet's tool of this name does; a
name with a folder in it, such as ``./pool.json``, is written there. Photos in
folders below are taken as well; file names are relative to ``data/photos``.
In place of ``classes.txt`` the COCO json of the images that are labelled
already does, or names: ``helmet,vest``. Run again after the folder has grown,
photos keep their ids.

    python tools/dataset/images2coco.py cifar10 data/cifar-10-batches-py \\
        data/cifar10

writes COCO files of CIFAR-10, CIFAR-100 or SVHN (``cifar10``, ``cifar100``,
``svhn``), a box around each image, from the usual files: CIFAR's "python
version", or SVHN's train_32x32.mat and test_32x32.mat.
"""
import argparse
import os.path as osp
import sys

from mmal.commands.errors import run_or_explain
from mmal.datasets import make_cifar, make_svhn
from mmal.fileio import write_json
from mmal.pool.formats import folder_to_coco

MAKERS = {
    'cifar10': lambda source, root: make_cifar(source, root, 10),
    'cifar100': lambda source, root: make_cifar(source, root, 100),
    'svhn': make_svhn,
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'img_path', metavar='folder',
        help=f'folder of photos, or one of {", ".join(MAKERS)}')
    parser.add_argument(
        'classes', help='file with a class name on each line, COCO json or '
        'names with commas between them; for the data sets above the folder '
        'of the usual files')
    parser.add_argument(
        'out', help='COCO json to write; for the data sets above the folder '
        'of pool.json and val.json')
    parser.add_argument(
        '-e', '--exclude-extensions', nargs='+', default=[], metavar='EXT',
        help='photos to leave out, such as "png" and "bmp"')
    parser.add_argument(
        '--skip-unreadable', action='store_true',
        help='leave photos that cannot be read out (default: an error)')
    return parser.parse_args(argv)


def convert(args):
    # A folder may be called svhn; then the last argument tells.
    if args.img_path in MAKERS and not args.out.endswith('.json'):
        print(MAKERS[args.img_path](args.classes, args.out))
        return
    if not args.out.endswith('.json'):
        raise ValueError(f'{args.out} must end in .json.')
    if not osp.isdir(args.img_path):
        raise ValueError(f'there is no folder {args.img_path}. Give one of '
                         f'photos, or one of {", ".join(MAKERS)}.')
    path = args.out
    if not osp.dirname(path):
        path = osp.join(osp.dirname(osp.abspath(args.img_path)),
                        'annotations', path)
    pool = folder_to_coco(args.img_path, args.classes, path,
                          args.skip_unreadable, args.exclude_extensions)
    write_json(path, pool.coco)
    print(pool.summary(path))


def main(argv=None):
    args = parse_args(argv)
    return run_or_explain(lambda: convert(args), osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())

"""Make COCO files of CIFAR-10, CIFAR-100 or SVHN, a box around each image."""
import argparse
import os.path as osp
import sys

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.datasets import make_cifar, make_svhn
from mmal.engine.cli import run_or_explain

MAKERS = {
    'cifar10': lambda source, root: make_cifar(source, root, 10),
    'cifar100': lambda source, root: make_cifar(source, root, 100),
    'svhn': make_svhn,
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', choices=sorted(MAKERS))
    parser.add_argument(
        'source',
        help='folder of the usual files: CIFAR\'s "python version", or '
        "SVHN's train_32x32.mat and test_32x32.mat")
    parser.add_argument('root', help='folder of pool.json and val.json')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    return run_or_explain(
        lambda: print(MAKERS[args.data](args.source, args.root)),
        osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())

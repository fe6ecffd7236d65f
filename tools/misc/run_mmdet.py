"""Run one of mmdet's own tools where mmcv has no compiled operators.

    python tools/misc/run_mmdet.py train configs/mdn/ssd300-lite0-mdn_bccd.py
    python tools/misc/run_mmdet.py test CONFIG CHECKPOINT --show-dir drawn

The scripts are those that mmdet's wheel brings along; mmal supplies the
operators that mmcv-lite lacks before they start. With the full mmcv, mmdet's
tools work as they are.
"""
import argparse
import os.path as osp
import runpy
import sys

import torch

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.compat.malloc import keep_freed_memory


def script(name: str) -> str:
    """Path of one of mmdet's tools.

    Raises:
        SystemExit: If the installed mmdet has no such script.
    """
    import mmdet
    tools = osp.join(osp.dirname(mmdet.__file__), '.mim', 'tools')
    path = osp.join(tools, f'{name}.py')
    if not osp.isfile(path):
        raise SystemExit(f'mmdet {mmdet.__version__} as it is installed has '
                         f'no {path}: install its wheel, or clone mmdet and '
                         'use its tools.')
    return path


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('tool', choices=('train', 'test'))
    parser.add_argument('arguments', nargs=argparse.REMAINDER,
                        help="the tool's own")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        keep_freed_memory()
    path = script(args.tool)
    sys.argv = [path, *args.arguments]
    runpy.run_path(path, run_name='__main__')


if __name__ == '__main__':
    main()

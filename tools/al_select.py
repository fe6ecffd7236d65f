"""Choose the images to label next with a trained checkpoint, no training."""
import argparse
import os.path as osp
import sys

import torch
from mmengine.dist import is_main_process
from mmengine.registry import init_default_scope

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.dist import setup_dist
from mmal.engine.checks import check_model
from mmal.engine.cli import (
    add_common_options,
    load_config,
    merge_options,
    run_or_explain,
)
from mmal.engine.mmdet_schema import check_mmdet_config
from mmal.engine.settings import Settings, pool_dataset
from mmal.engine.single_query import query_once
from mmal.models.utils import load_weights


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_options(parser)
    parser.add_argument('checkpoint', help='the trained detector')
    parser.add_argument(
        '--labelled',
        help='COCO json of the labelled images; they are no candidates '
        "(but by active_learning.candidates='all')")
    parser.add_argument(
        '--pool', help='COCO json of the pool (default: the config\'s)')
    parser.add_argument('--budget', type=int, help='how many to choose')
    parser.add_argument(
        '--out-dir',
        help='where selected.json goes (default: work_dirs/<config>_select)')
    args = parser.parse_args(argv)
    args.amp, args.work_dir = False, args.out_dir
    return args


def query_config(args):
    cfg = load_config(args, default_suffix='_select')
    if not osp.isfile(args.checkpoint):
        raise FileNotFoundError(
            f'there is no checkpoint {args.checkpoint}.')
    options = {}
    if args.pool is not None:
        options['active_learning.data.ann_file'] = osp.abspath(args.pool)
    if args.budget is not None:
        options['active_learning.budget.size'] = args.budget
    merge_options(cfg, options)
    # the block first, so that its mistakes are named before others
    Settings.from_config(cfg)
    check_mmdet_config(cfg)
    return cfg


def load_model(cfg, checkpoint):
    model = check_model(cfg, pool_dataset(cfg, Settings.from_config(cfg)))
    content = load_weights(model, checkpoint, cfg.filename)
    model.dataset_meta = content.get('meta', {}).get('dataset_meta')
    if torch.cuda.is_available():
        model = model.cuda()
    return model.eval()


def main(argv=None):
    args = parse_args(argv)

    def work():
        cfg = query_config(args)
        setup_dist(args.launcher)
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        model = load_model(cfg, args.checkpoint)
        chosen = query_once(cfg, model, cfg.work_dir, args.labelled)
        if is_main_process():
            print(f'{chosen}: {osp.join(cfg.work_dir, "selected.json")}')

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())

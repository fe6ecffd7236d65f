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
    run_or_explain,
)
from mmal.engine.select_config import prepare_pool, query_config
from mmal.engine.settings import Settings, pool_dataset
from mmal.engine.single_query import query_once
from mmal.models.utils import load_weights


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_options(
        parser,
        config="mmdet config of the detector, or its name 'mmdet::…'")
    parser.add_argument('checkpoint', help='the trained detector')
    parser.add_argument(
        '--pool',
        help='COCO json of the pool, or a folder of photos, of which '
        'pool.json is made in --out-dir (default: the config\'s pool)')
    parser.add_argument(
        '--pool-images',
        help='folder that file names of the json are relative to (default: '
        'that of the config\'s training images, or the folder of the json)')
    parser.add_argument('--budget', type=int, help='how many to choose')
    parser.add_argument(
        '--scorer',
        help='short name, e.g. entropy, margin, isal, random (the table is '
        'in docs/getting_started.md), or a class, e.g. mmal.GradScorer; '
        'default: the config\'s, or detection-entropy')
    parser.add_argument(
        '--selector',
        help='short name, e.g. top, core-set, k-means, or a class; default: '
        'the config\'s, or top')
    parser.add_argument(
        '--labelled',
        help='COCO json of the labelled images; they are no candidates '
        "(but by active_learning.candidates='all')")
    parser.add_argument(
        '--labelled-images',
        help='folder that file names of --labelled are relative to, where '
        'they are not among the pool\'s images (default: that of the '
        'config\'s training images if it has an active_learning block, or '
        'else the pool\'s)')
    parser.add_argument(
        '--out-dir',
        help='where selected.json goes (default: work_dirs/<config>_select)')
    args = parser.parse_args(argv)
    args.amp, args.work_dir = False, args.out_dir
    return args


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
        if args.pool is not None:
            prepare_pool(cfg, args)
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        model = load_model(cfg, args.checkpoint)
        chosen = query_once(cfg, model, cfg.work_dir, args.labelled,
                            args.labelled_images)
        if is_main_process():
            print(f'{chosen}: {osp.join(cfg.work_dir, "selected.json")}')

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())

"""Choose the images to label next with a trained checkpoint, no training."""
from __future__ import annotations

import argparse
import os.path as osp
from typing import TYPE_CHECKING

from .options import add_common_options, whole

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

EXAMPLES = """examples:
  mmal select my_detector.py epoch_12.pth --pool pool.json --budget 200
  mmal select my_detector.py epoch_12.pth --pool pool.json --budget 200 \\
      --labelled train.json --out-dir next
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_common_options(parser)
    parser.add_argument('checkpoint', help='the trained detector')
    parser.add_argument(
        '--labelled',
        help='COCO json of the labelled images; they are no candidates '
        "(but by active_learning.candidates='all')")
    parser.add_argument(
        '--pool', help='COCO json of the pool (default: the config\'s)')
    parser.add_argument(
        '--budget', type=whole(1), metavar='N', help='how many to choose')
    parser.add_argument(
        '--out-dir',
        help='where selected.json goes (default: work_dirs/<config>_select)')


def query_config(args: argparse.Namespace) -> Config:
    """The config with the arguments in it, checked."""
    from mmal.engine.cli import load_config, merge_options
    from mmal.engine.mmdet_schema import check_mmdet_config
    from mmal.engine.settings import Settings
    args.amp, args.work_dir = False, args.out_dir
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


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """The detector of a config with trained weights, ready to predict."""
    import torch

    from mmal.engine.checks import check_model
    from mmal.engine.settings import Settings, pool_dataset
    from mmal.models.utils import load_weights
    model = check_model(cfg, pool_dataset(cfg, Settings.from_config(cfg)))
    content = load_weights(model, checkpoint, cfg.filename)
    model.dataset_meta = content.get('meta', {}).get('dataset_meta')
    if torch.cuda.is_available():
        model = model.cuda()
    return model.eval()


def run(args: argparse.Namespace) -> None:
    """Choose, write ``selected.json`` and say what was chosen."""
    from mmengine.dist import is_main_process
    from mmengine.registry import init_default_scope

    from mmal.dist import setup_dist
    from mmal.engine.cli import prepare_process
    from mmal.engine.single_query import query_once
    prepare_process()
    cfg = query_config(args)
    setup_dist(args.launcher)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    model = load_model(cfg, args.checkpoint)
    chosen = query_once(cfg, model, cfg.work_dir, args.labelled)
    if is_main_process():
        print(f'{chosen}: {osp.join(cfg.work_dir, "selected.json")}')

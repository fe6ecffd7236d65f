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
  mmal select my_detector.py epoch_12.pth --pool photos/ --budget 200
  mmal select mmdet::retinanet/retinanet_r18_fpn_1x_coco.py retinanet.pth \\
      --pool photos/ --budget 200 --scorer entropy
  mmal select my_detector.py epoch_12.pth --pool pool.json --budget 200 \\
      --scorer isal --labelled train.json --out-dir next
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
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
    parser.add_argument(
        '--budget', type=whole(1), metavar='N', help='how many to choose')
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
    from mmal.engine.select_config import prepare_pool, query_config
    from mmal.engine.single_query import query_once
    prepare_process()
    args.amp, args.work_dir = False, args.out_dir
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

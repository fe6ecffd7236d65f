"""What the command line tools share."""
from __future__ import annotations

import argparse
import os
import os.path as osp
import sys
import traceback
from typing import Any, Callable

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import get_rank, is_main_process
from mmengine.utils import import_modules_from_strings

from mmal.compat.configs import path_of_config
from mmal.compat.malloc import keep_freed_memory
from mmal.compat.quiet import quiet_libraries
from mmal.dist import close_dist
from mmal.pool import LabelsPending
from .pure_python import with_named_types
from .schema import clip, short

EXPECTED = (ValueError, OSError, FloatingPointError)


def add_common_options(parser: argparse.ArgumentParser,
                       config: str = 'mmdet config with active_learning',
                       seed: str = 'sets active_learning.seed') -> None:
    """Add the arguments that every tool has.

    Args:
        parser (ArgumentParser): Gets them.
        config (str): What the config is.
        seed (str): What the seed does.
    """
    parser.add_argument('config', help=config)
    parser.add_argument('--seed', type=int, help=seed)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='overrides, e.g. active_learning.budget.size=500')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_training_options(parser: argparse.ArgumentParser,
                         default_dir: str = 'work_dirs/<config>') -> None:
    """Add the arguments that every tool that trains has.

    Args:
        parser (ArgumentParser): Gets them.
        default_dir (str): Where results go by default.
    """
    parser.add_argument(
        '--work-dir', help=f'where results go (default: {default_dir})')
    parser.add_argument(
        '--amp', action='store_true', help='train with mixed precision')


def add_picture_options(
        parser: argparse.ArgumentParser,
        config: str = 'mmdet config of the detector',
        override: str = 'model.test_cfg.score_thr=0.1') -> None:
    """Add the arguments that every tool has that draws on photos.

    Args:
        parser (ArgumentParser): Gets them.
        config (str): What the config is.
        override (str): An example of ``--cfg-options``.
    """
    parser.add_argument('config', help=config)
    parser.add_argument('checkpoint', help='the trained detector')
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument(
        '--out', required=True, help='folder for the pictures (png)')
    parser.add_argument(
        '--device', help='default: the GPU where there is one, or cpu')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help=f'overrides, e.g. {override}')


def load_config(args: argparse.Namespace, default_suffix: str = '') -> Config:
    """Read ``args.config`` with the command line's options in it.

    It is a file, or the name of one of a package's configs, e.g.
    ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.

    Args:
        args (argparse.Namespace): See :func:`prepare_config`.
        default_suffix (str): Ends the name of the default work folder.

    Returns:
        Config: Its types are names, also those of a pure-python config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, and see :func:`prepare_config`.
    """
    path = args.config
    if '::' in path and not osp.exists(path):
        path = path_of_config(path)
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no config {args.config}.')
    try:
        cfg = Config.fromfile(path)
        if cfg.get('custom_imports'):
            # mmengine has done so already, but for pure-python configs
            import_modules_from_strings(**cfg.custom_imports)
    except Exception as e:  # a config is a program
        raise ValueError(f'{args.config} cannot be read: {type(e).__name__}: '
                         f'{clip(str(e), 800)}') from e
    cfg = with_named_types(cfg)
    prepare_config(cfg, args, default_suffix)
    return cfg


def prepare_config(cfg: Config,
                   args: argparse.Namespace,
                   default_suffix: str = '') -> None:
    """Put the command line's options into a config.

    Args:
        cfg (Config): Changed in place.
        args (argparse.Namespace): ``cfg_options``, ``work_dir``, ``seed``,
            ``amp``, ``launcher`` and ``local_rank``.
        default_suffix (str): Ends the name of the default work folder.

    Raises:
        ValueError: If mixed precision is asked for without a GPU, or an
            option does not fit into the config.
    """
    options = dict(args.cfg_options or {})
    if 'data_root' in options:
        move_data(cfg, options['data_root'])
    merge_options(cfg, options)
    name = osp.splitext(osp.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join(
        'work_dirs', name + default_suffix)
    cfg.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.seed is not None:
        block = cfg.setdefault('active_learning', {})
        if isinstance(block, dict):  # whoever reads the block says so
            block['seed'] = args.seed
    if args.amp:
        if not torch.cuda.is_available():
            raise ValueError(
                '--amp needs a GPU: leave it out on this machine.')
        wrapper = cfg.get('optim_wrapper')
        if not isinstance(wrapper, dict):
            raise ValueError('--amp needs an optim_wrapper in the config.')
        if wrapper.get('type') not in ('AmpOptimWrapper', 'OptimWrapper',
                                       None):
            raise ValueError(
                f'--amp cannot replace optim_wrapper.type {wrapper.type}: '
                'use AmpOptimWrapper in the config.')
        if wrapper.get('type') != 'AmpOptimWrapper':
            wrapper.type = 'AmpOptimWrapper'
            wrapper.loss_scale = 'dynamic'


def merge_options(cfg: Config, options: dict) -> None:
    """Set keys of a config.

    Args:
        cfg (Config): Changed in place.
        options (dict): Dotted key -> value.

    Raises:
        ValueError: If a key is inside of something that is no dict.
    """
    for key, value in options.items():
        try:
            cfg.merge_from_dict({key: value})
        except Exception as e:  # mmengine asserts, or fails as it happens
            raise ValueError(
                f'{clip(key, 100)} cannot be set to {short(value)}: '
                f'{clip(str(e), 300)}') from e


def move_data(cfg: Config, data_root: str) -> None:
    """Let every path under the config's ``data_root`` be under another one.

    A text config has put its ``data_root`` into data sets and evaluators by
    the time it is overridden.

    Args:
        cfg (Config): Changed in place; has a top-level ``data_root``.
        data_root (str): The new folder.

    Raises:
        ValueError: If the config has no ``data_root``.
    """
    old = cfg.get('data_root')
    if not old:
        raise ValueError(
            'data_root was given, but the config has none at its top level: '
            'set train_dataloader.dataset.data_root and the like.')
    new = osp.join(data_root, '') if old.endswith('/') else data_root
    moved = _replace_prefix(cfg.to_dict(), old, new)
    cfg.merge_from_dict(moved)


def _replace_prefix(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {k: _replace_prefix(v, old, new) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replace_prefix(v, old, new) for v in value)
    if isinstance(value, str) and value.startswith(old):
        return new + value[len(old):]
    return value


def run_or_explain(work: Callable[[], Any], name: str) -> int:
    """Run a tool; say in one message what a user can put right.

    The traceback is shown as well if the environment variable ``MMAL_DEBUG``
    is set.

    Args:
        work (callable): Takes nothing.
        name (str): The tool's name.

    Returns:
        int: The exit status: 0, 1 after an error, 3 when people must label
        images before it can go on.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    quiet_libraries()
    try:
        work()
        return 0
    except LabelsPending as e:
        _say(f'{name}: {e}', e)
        return 3
    except EXPECTED as e:
        if os.environ.get('MMAL_DEBUG'):
            traceback.print_exc()
        _say(f'{name}: error: {e}\n(MMAL_DEBUG=1 shows where it came from.)',
             e)
        return 1
    finally:
        close_dist()


def _say(message: str, error: Exception) -> None:
    """Print once what all processes know, and always what only one does."""
    if is_main_process():
        print(message, file=sys.stderr, flush=True)
    elif not getattr(error, 'everywhere', False):
        print(f'[process {get_rank()}] {message}', file=sys.stderr, flush=True)

"""Configs as the commands read them: a file, with options put into it."""
from __future__ import annotations

import argparse
import gc
import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.utils import import_modules_from_strings

from mmal.compat.configs import path_of_config
from mmal.compat.malloc import keep_freed_memory
from mmal.compat.quiet import quiet_libraries
from .pure_python import with_named_types
from .schema import clip, short


def prepare_process() -> None:
    """What every command does that computes, when it has imported all.

    On a CPU freed memory is kept; warnings that only libraries can act on
    are not shown. What the imports have made, about 400,000 objects, is taken
    out of the garbage collector's sight: mmengine has it look through
    everything each time that a data set is built, which takes longer than
    building a small one.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    gc.freeze()
    quiet_libraries()


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
        cfg = with_named_types(Config.fromfile(path))
        # mmengine has imported what the file names (but of pure-python
        # configs), and nothing that --cfg-options name.
        options = [o for o in args.cfg_options or []
                   if o.startswith('custom_imports')]
        merge_options(cfg, read_options(options))
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
    except Exception as e:  # a config is a program
        raise ValueError(f'{args.config} cannot be read: {type(e).__name__}: '
                         f'{clip(str(e), 800)}') from e
    prepare_config(cfg, args, default_suffix)
    return cfg


def prepare_config(cfg: Config,
                   args: argparse.Namespace,
                   default_suffix: str = '') -> None:
    """Put the command line's options into a config.

    Args:
        cfg (Config): Changed in place.
        args (argparse.Namespace): ``cfg_options`` (see
            :func:`read_options`), ``work_dir``, ``seed``, ``amp``,
            ``launcher`` and ``local_rank``.
        default_suffix (str): Ends the name of the default work folder.

    Raises:
        ValueError: If mixed precision is asked for without a GPU, or an
            option does not fit into the config.
    """
    options = read_options(args.cfg_options or [])
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


def read_options(words: Sequence[str]) -> dict:
    """Values of ``--cfg-options``, as mmengine's own scripts read them.

    Args:
        words (sequence[str]): Each ``key=value``.

    Returns:
        dict: Dotted key -> number, truth value, None, list, tuple or text.

    Raises:
        ValueError: If a value has brackets that do not fit together.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction)
    try:
        return parser.parse_args(['--options', *words]).options
    except AssertionError as e:
        raise ValueError(f'--cfg-options {" ".join(words)}: {e}') from e


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

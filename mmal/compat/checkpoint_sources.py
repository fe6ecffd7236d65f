"""Where checkpoints come from: every way ends in the restricted loader.

mmengine loads what ``load_from``, ``resume`` and ``init_cfg`` name by the
scheme of the name, and its loaders of schemes unpickle as they like: by
``torch.load``, which is restricted since torch 2.6 only, or by torch.hub,
which never is. :func:`register` leaves them no other way than
:func:`mmal.compat.checkpoints.load_file`.
"""
import contextvars
import io
import json
import os
import re
from pathlib import Path
from typing import Any, Optional, Tuple, Union
from urllib.parse import urlparse

import mmengine
import torch
from mmengine.dist import get_dist_info
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_loading
from mmengine.runner.checkpoint import get_torchvision_models

from .checkpoints import load_file, split_sha256

# What is being loaded: the name that the config gives, and the SHA-256 that
# goes with it. It may pass through several loaders of mmengine.
_asked: contextvars.ContextVar[Tuple[Optional[str], Optional[str]]] = \
    contextvars.ContextVar('asked', default=(None, None))
_theirs = CheckpointLoader.load_checkpoint.__func__


class _RestrictedTorch:
    """``torch`` as mmengine's loaders see it: its ``load`` is restricted."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Union[str, io.BytesIO], map_location: Any = None,
             **options: Any) -> Any:
        """Without options: all of torch's that mmengine might give would
        only loosen it."""
        return load_named(file, map_location)


def register() -> None:
    """Let mmengine load by the rules, and with the errors, of
    :func:`~mmal.compat.checkpoints.load_checkpoint` only.

    That goes for files, addresses, s3 and petrel, and for names of
    torchvision, open-mmlab, mmcls and pavi. A loader that somebody registers
    for a scheme of their own is their program.
    """
    # All of them call these two; what is registered under a scheme calls
    # them by their names in this module.
    mmengine_loading.torch = _RestrictedTorch()
    mmengine_loading.load_from_http = load_from_url
    for prefixes, loader in (('', load_from_local),
                             (('http://', 'https://'), load_from_url),
                             (('torchvision://', 'modelzoo://'),
                              load_from_torchvision)):
        CheckpointLoader.register_scheme(
            prefixes=prefixes, loader=loader, force=True)
    CheckpointLoader.load_checkpoint = classmethod(load_checkpoint_by_name)


def load_checkpoint_by_name(cls: type,
                            filename: str,
                            map_location: Any = None,
                            logger: Any = 'current') -> Any:
    """mmengine's ``CheckpointLoader.load_checkpoint``, which also knows
    ``#sha256=`` and 64 digits behind a name.

    Raises:
        FileNotFoundError: If it is not there.
        CheckpointError: If it is damaged, holds more than data, or has
            another SHA-256.
    """
    token = _asked.set(split_sha256(filename))
    try:
        return _theirs(cls, _asked.get()[0], map_location, logger)
    finally:
        _asked.reset(token)


def load_named(file: Union[str, Path, io.BytesIO],
               map_location: Any = None) -> Any:
    """Load a file for the name that is asked for; errors tell both."""
    name, sha256 = _asked.get()
    path = None if isinstance(file, io.BytesIO) else str(file)
    if name is None or (path is not None and
                        os.path.expanduser(name) == path):
        name = path
    elif path is not None:
        name = f'{name} ({path})'
    return load_file(file, map_location, sha256=sha256, name=name)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """mmengine's loader of local files; its name is part of a log line."""
    return load_named(Path(filename).expanduser(), map_location)


def load_from_url(filename: str,
                  map_location: Any = None,
                  model_dir: Optional[str] = None,
                  progress: bool = True) -> Any:
    """Download a file once and load it by the rules of local files.

    Args:
        filename (str): An address of http or https; where its name ends with
            eight or more digits of a hash (``resnet50-0676ba61.pth``), what
            was downloaded must have it, unless all of them were asked for.
        map_location: As :func:`torch.load`.
        model_dir (str, optional): Where the file is kept. Default: the folder
            of torch.hub.
        progress (bool): Whether process 0 shows a progress bar.

    Raises:
        FileNotFoundError: If it cannot be downloaded; the message says where
            to put it.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
    path = folder / Path(urlparse(filename).path).name
    rank, world_size = get_dist_info()
    problem = None
    if rank == 0 and not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        digits = re.search(r'-([0-9a-f]{8,})\.', path.name)
        sha256 = _asked.get()[1] or (digits and digits.group(1))
        try:
            torch.hub.download_url_to_file(
                filename, str(path), sha256, progress)
        except (OSError, RuntimeError) as error:  # network, disk; hash
            problem = error
    if world_size > 1:
        torch.distributed.barrier()
    if not path.is_file():
        raise FileNotFoundError(
            f'{filename} cannot be downloaded ({problem or "by process 0"}). '
            f'Put the file at {path}, or set the init_cfg or load_from that '
            'names it to a file of yours or to None.')
    return load_named(path, map_location)


def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Weights of torchvision by their name, whether it is installed or not.

    Args:
        filename (str): Such as ``torchvision://resnet50``.
        map_location: As :func:`torch.load`.

    Raises:
        FileNotFoundError: See :func:`load_from_url`.
        ValueError: If there are no weights of this name.
    """
    # the addresses that mmengine itself takes for the names without a suffix
    with open(Path(mmengine.__file__).parent / 'hub' /
              'torchvision_0.12.json') as file:
        addresses = json.load(file)
    name = filename.split('://', 1)[1]
    if name not in addresses:
        try:
            addresses = get_torchvision_models()
        except ImportError as error:
            raise ValueError(
                f'{filename}: only torchvision knows weights of this name: '
                'pip install torchvision, or take one of '
                f'{", ".join(sorted(addresses))}.') from error
    if name not in addresses:
        raise ValueError(f'{filename}: torchvision has no weights of this '
                         f'name but {", ".join(sorted(addresses))}.')
    return load_from_url(addresses[name], map_location)

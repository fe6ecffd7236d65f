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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import urlparse

import mmengine
import torch
from mmengine.dist import get_dist_info
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_loading
from mmengine.runner.checkpoint import get_torchvision_models

from .checkpoints import CheckpointError, load_file, split_sha256

_theirs = CheckpointLoader.load_checkpoint.__func__


@dataclass
class _Request:
    """What is being loaded; it may pass through several loaders of mmengine.

    Args:
        name (str, optional): As the config gives it, without digits.
        sha256 (str, optional): The digits.
        is_compared (bool): Whether a content was compared with them.
    """
    name: Optional[str] = None
    sha256: Optional[str] = None
    is_compared: bool = False


_request: contextvars.ContextVar[Optional[_Request]] = \
    contextvars.ContextVar('request', default=None)


class _RestrictedTorch:
    """``torch`` as mmengine's loaders see it: its ``load`` is restricted."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Union[str, io.BytesIO], map_location: Any = None,
             **options: Any) -> Any:
        """Load as :func:`load_named` does; options could only loosen it."""
        return load_named(file, map_location)


def register() -> None:
    """Let mmengine load by the rules, and with the errors, of
    :func:`~mmal.compat.checkpoints.load_checkpoint` only.

    That goes for files, addresses, s3 and petrel, and for names of
    torchvision, open-mmlab, mmcls and pavi. A loader that somebody registers
    for a scheme of their own is their program.
    """
    # Its loaders end in one of these two, which they look up in their module.
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
        CheckpointError: If it is damaged, holds more than data, has another
            SHA-256, or somebody's own loader has compared none.
    """
    request = _Request(*split_sha256(filename))
    token = _request.set(request)
    try:
        content = _theirs(cls, request.name, map_location, logger)
    finally:
        _request.reset(token)
    if request.sha256 is not None and not request.is_compared:
        raise CheckpointError(
            f'{filename}: the loader that is registered for such names '
            'compares no SHA-256. Leave the digits out, or name a file.')
    return content


def load_named(file: Union[str, Path, io.BytesIO],
               map_location: Any = None) -> Any:
    """Load a file for the name that is asked for; errors tell both."""
    request = _request.get() or _Request()
    name = request.name
    path = None if isinstance(file, io.BytesIO) else str(file)
    if name is None or (path is not None and
                        os.path.expanduser(name) == path):
        name = path
    elif path is not None:
        name = f'{name} ({path})'
    content = load_file(
        file, map_location, sha256=request.sha256, name=name)
    request.is_compared = True
    return content


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
        request = _request.get() or _Request()
        sha256 = request.sha256 or (digits and digits.group(1))
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

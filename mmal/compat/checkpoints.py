"""Loading of checkpoints without running what is pickled in them.

A checkpoint is a pickle, and unpickling runs code of whoever wrote it. torch
loads with ``weights_only=True`` only types from a list. That list lacks the
log history and the numpy values that every checkpoint of mmengine's Runner
contains; :func:`register` adds exactly those.
"""
import contextlib
import functools
import json
import pickle
import re
import types
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Union
from urllib.parse import urlparse

import mmengine
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import get_dist_info
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_torchvision_models
from packaging.version import Version

PathLike = Union[str, Path]

# From here on torch can allow a name that is not the object's own.
NATIVE = Version(torch.__version__) >= Version('2.6.0.dev0')

_REFUSED = (
    re.compile(r'GLOBAL (\S+) was not an allowed global'),
    re.compile(r'unsupported GLOBAL (\S+) whose module'),
)


class CheckpointError(ValueError):
    """A checkpoint cannot be used."""


class CorruptCheckpointError(CheckpointError):
    """A checkpoint is damaged, incomplete, or no checkpoint at all."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint holds objects that are not data; nothing was run."""


def load_checkpoint(path: PathLike,
                    map_location: Any = 'cpu',
                    mmap: bool = False) -> Dict[str, Any]:
    """Load a checkpoint; code pickled in it is never run.

    Args:
        path (str | Path): the file.
        map_location: as :func:`torch.load`.
        mmap (bool): leave tensors in the file until they are used, where
            torch (2.6) and the file (of torch 1.6) are new enough.

    Returns:
        dict: what was saved: weights, or mmengine's ``meta``,
        ``state_dict``, ``message_hub``, ``optimizer``, ``param_schedulers``.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: objects other than tensors, numbers,
            containers and mmengine's log history are pickled in it.
        CorruptCheckpointError: the file is truncated, damaged, or no
            checkpoint.
    """
    checkpoint = _load(path, map_location, mmap)
    if not isinstance(checkpoint, dict):
        raise CorruptCheckpointError(
            f'{path}: holds a {type(checkpoint).__name__}, and a checkpoint '
            f'is a dict. Give the .pth file of a training run, or weights.')
    return checkpoint


def is_readable_checkpoint(path: PathLike) -> bool:
    """Whether a file can be loaded by :func:`load_checkpoint`, undamaged.

    Meant for the choice of a checkpoint to resume from: False where the
    file is missing, incomplete or refused. Reads the whole file, since
    torch does not compare checksums when it loads.
    """
    try:
        load_checkpoint(path)
    except (OSError, CheckpointError):
        return False
    return _damage(path) is None


def register() -> None:
    """Let torch and mmengine load mmengine's checkpoints, and only those.

    Afterwards ``torch.load(weights_only=True)`` accepts them, and mmengine
    loads what ``load_from``, ``resume`` and ``init_cfg`` name, files,
    addresses and weights of torchvision, by :func:`load_checkpoint`'s rules
    and with its errors.
    """
    if NATIVE:
        torch.serialization.add_safe_globals(
            [(value, name) for name, value in _allowed().items()])
    for prefixes, loader in (('', load_from_local),
                             (('http://', 'https://'), load_from_url),
                             (('torchvision://', 'modelzoo://'),
                              load_from_torchvision)):
        CheckpointLoader.register_scheme(
            prefixes=prefixes, loader=loader, force=True)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """mmengine's loader of local files; its name is part of a log line."""
    return _load(Path(filename).expanduser(), map_location)


def load_from_url(filename: str,
                  map_location: Any = None,
                  model_dir: Optional[str] = None,
                  progress: bool = True) -> Any:
    """Download a file once and load it by the rules of local files.

    Args:
        filename (str): An address of http or https; where its name ends with
            eight or more digits of a hash (``resnet50-0676ba61.pth``), what
            was downloaded must have it.
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
        try:
            torch.hub.download_url_to_file(
                filename, str(path), digits and digits.group(1), progress)
        except (OSError, RuntimeError) as error:  # network, disk; hash
            problem = error
    if world_size > 1:
        torch.distributed.barrier()
    if not path.is_file():
        raise FileNotFoundError(
            f'{filename} cannot be downloaded ({problem or "by process 0"}). '
            f'Put the file at {path}, or set the init_cfg or load_from that '
            'names it to a file of yours or to None.')
    return _load(path, map_location)


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


def _load(path: PathLike, map_location: Any, mmap: bool = False) -> Any:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint.')
    try:
        if NATIVE:
            return torch.load(
                path,
                map_location=map_location,
                weights_only=True,
                mmap=mmap and zipfile.is_zipfile(path))
        # torch < 2.6 has either no list to extend, or none that can hold
        # numpy's old names and the stand-in for ``getattr``: our own
        # unpickler does what ``weights_only=True`` does.
        module = types.SimpleNamespace(
            __name__='restricted', Unpickler=_RestrictedUnpickler,
            load=lambda file, **options: _RestrictedUnpickler(
                file, **options).load())
        return torch.load(path, map_location=map_location,
                          pickle_module=module, weights_only=False)
    except MemoryError:  # the file is not to blame
        raise
    except Exception as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: Exception) -> Exception:
    """The error to raise: a clearer one where the file is to blame."""
    refused = [match.group(1) for pattern in _REFUSED
               for match in pattern.finditer(str(error))]
    if refused and NATIVE:
        # The message names the first one only; who is to decide whether to
        # trust the file wants to see all. Older formats have no such list.
        refused = refused[:1]
        with contextlib.suppress(Exception):
            every = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            refused = sorted({name.removeprefix('builtins.')
                              for name in (*every, refused[0])})
    if refused:
        return UnsafeCheckpointError(
            f'{path}: refused, since it holds pickled objects that are not '
            f'plain data: {", ".join(refused)}. Nothing of it was run. Save '
            f'only the weights where the file comes from '
            f"(torch.save({{'state_dict': model.state_dict()}}, ...)); or, "
            f'if you trust these classes, allow them before loading: '
            f'torch.serialization.add_safe_globals([...]).')
    damage = _damage(path)
    # An OSError or RuntimeError of a whole file is of memory, device or
    # rights, and says so itself, unless torch's reader of the file raises it.
    reader = ('PytorchStreamReader', 'inline_container')
    if damage is None and isinstance(error, (OSError, RuntimeError)) and \
            not any(name in str(error) for name in reader):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CorruptCheckpointError(
        f'{path}: cannot be read as a checkpoint '
        f'({damage or lines[-1].strip()}). It is incomplete, damaged, or '
        f'was not written by torch.save; use another checkpoint, or train '
        f'again.')


def _damage(path: PathLike) -> Optional[str]:
    """What is wrong with the file itself, None if nothing is seen."""
    path = Path(path)
    if path.stat().st_size == 0:
        return 'the file is empty'
    if not zipfile.is_zipfile(path):
        # A zip file has its table at its end, so a truncated one is none; a
        # file of torch < 1.6 starts with a pickled magic number instead.
        with path.open('rb') as file:
            head = file.read(16)
        if head.startswith(b'PK\x03\x04'):
            return 'the file ends too early'
        magic = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
        return None if head.startswith(magic) else 'not a file of torch.save'
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error)
    return None if bad is None else f'wrong checksum in {bad}'


@functools.lru_cache(maxsize=1)
def _allowed() -> Dict[str, Any]:
    """Objects that mmengine's checkpoints need, by pickled name.

    numpy's come under the names of numpy 1 and of numpy 2, so that one can
    load what the other wrote.
    """

    def no_bytes(*content: Any) -> bytes:
        # of an empty array; the real one could ask for any amount of memory
        if content:
            raise pickle.UnpicklingError(
                'GLOBAL bytes(...) was not an allowed global')
        return b''

    # numpy names them nowhere in public, but in what it pickles
    reconstruct = np.zeros(1).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    allowed = {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'mmengine.config.config.ConfigDict': ConfigDict,
        'builtins.getattr': _history_method,
        'builtins.bytes': no_bytes,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
    }
    for core in ('numpy.core', 'numpy._core'):
        allowed[f'{core}.multiarray._reconstruct'] = reconstruct
        allowed[f'{core}.multiarray.scalar'] = scalar
    for kind in map(type, map(np.dtype, '?bBhHiIlLqQefdgFDUS')):
        allowed[f'{kind.__module__}.{kind.__name__}'] = kind
    return allowed


def _history_method(owner: type, name: str) -> Callable:
    """What ``getattr`` is to a checkpoint: a statistic of the log history.

    mmengine pickles these as ``getattr(HistoryBuffer, 'mean')``. The real
    ``getattr`` would lead from there to any code.
    """
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean',
                                                  'current'):
        raise pickle.UnpicklingError(
            f'GLOBAL getattr({getattr(owner, "__name__", owner)},{name}) '
            f'was not an allowed global')
    return getattr(HistoryBuffer, name)


_TORCH_NAMES = re.compile(
    r'collections\.OrderedDict|_codecs\.encode|torch\.(Size|device)|'
    r'torch\._utils\._rebuild_(tensor|tensor_v2|parameter|qtensor)|'
    r'torch\.(bool|uint8|u?int(8|16|32|64)|b?float(16|32|64)|'
    r'complex(64|128))|torch\.serialization\._get_layout')
_STORAGES = re.compile(r'torch(\.storage)?\.\w+Storage')


class _RestrictedUnpickler(pickle.Unpickler):
    """Finds what :func:`_allowed` lists, and what tensors are made of."""

    def find_class(self, module: str, name: str) -> Any:
        # torch pickles by protocol 2, with Python 2's names of builtins.
        if module == '__builtin__':
            module = 'builtins'
        full = f'{module}.{name}'
        if full in _allowed():
            return _allowed()[full]
        if _STORAGES.fullmatch(full) or _TORCH_NAMES.fullmatch(full):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f'GLOBAL {full} was not an allowed global')

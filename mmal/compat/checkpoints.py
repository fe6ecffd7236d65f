"""Loading of checkpoints without running what is pickled in them.

A checkpoint is a pickle, and unpickling runs code of whoever wrote it. torch
loads with ``weights_only=True`` only types from a list. That list lacks the
log history and the numpy values that every checkpoint of mmengine's Runner
contains; :func:`register` adds exactly those. Where checkpoints come from is
the business of :mod:`mmal.compat.checkpoint_sources`.
"""
import contextlib
import functools
import hashlib
import io
import pickle
import re
import types
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Set, Tuple, Union

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from packaging.version import Version

PathLike = Union[str, Path]

# From here on torch can allow a name that is not the object's own.
NATIVE = Version(torch.__version__) >= Version('2.6.0.dev0')

_REFUSED = (
    re.compile(r'GLOBAL (\S+) was not an allowed global'),
    re.compile(r'unsupported GLOBAL (\S+) whose module'),
)


_SHA256 = '#sha256='
_verified: Set[Tuple] = set()  # files that were compared, as they were then


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
        path (str | Path): the file; ``#sha256=`` and 64 digits behind it are
            compared with its content first.
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
        CheckpointError: its content has another SHA-256.
    """
    name, sha256 = split_sha256(path)
    checkpoint = load_file(name, map_location, mmap, sha256)
    if not isinstance(checkpoint, dict):
        raise CorruptCheckpointError(
            f'{name}: holds a {type(checkpoint).__name__}, and a checkpoint '
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


def split_sha256(name: PathLike) -> Tuple[str, Optional[str]]:
    """The name of a checkpoint without ``#sha256=…``, and those digits.

    The form is that of pip. It stays with the name wherever names of
    checkpoints go, through mmengine too, which knows no other key beside
    ``checkpoint`` and ``load_from``.

    Raises:
        CheckpointError: they are not 64 hexadecimal digits.
    """
    plain, mark, digits = str(name).partition(_SHA256)
    if not mark:
        return plain, None
    if not re.fullmatch('[0-9a-fA-F]{64}', digits):
        raise CheckpointError(
            f'{name}: {_SHA256} needs the 64 hexadecimal digits that '
            'sha256sum prints of the file.')
    return plain, digits.lower()


def check_exists(name: PathLike) -> None:
    """Raise FileNotFoundError unless a checkpoint, with or without
    ``#sha256=…``, is a file."""
    path = split_sha256(name)[0]
    if not Path(path).is_file():
        hint = ' Only files are read here: download it first.' \
            if '://' in path else ''
        raise FileNotFoundError(f'there is no checkpoint {path}.{hint}')


def register() -> None:
    """Let ``torch.load(weights_only=True)`` accept mmengine's checkpoints."""
    if NATIVE:
        torch.serialization.add_safe_globals(
            [(value, name) for name, value in _allowed().items()])


def load_file(file: Union[PathLike, io.BytesIO],
              map_location: Any = None,
              mmap: bool = False,
              sha256: Optional[str] = None,
              name: Optional[str] = None) -> Any:
    """Load whatever is in a file, restricted.

    Args:
        file (str | Path | BytesIO): the file, or its content.
        map_location: as :func:`torch.load`.
        mmap (bool): see :func:`load_checkpoint`.
        sha256 (str, optional): what its content must have, in small letters.
        name (str, optional): what the errors call it; the path by default.

    Raises:
        FileNotFoundError, CheckpointError: see :func:`load_checkpoint`.
    """
    if not isinstance(file, io.BytesIO):
        file = Path(file)
        if not file.is_file():
            raise FileNotFoundError(f'{name or file}: no such checkpoint.')
    name = name or str(file)
    if sha256 is not None:
        _compare(file, sha256, name)
    if _is_torchscript(file):
        raise UnsafeCheckpointError(
            f'{name}: refused, since it is a program (TorchScript, '
            'torch.jit.save), not weights. Nothing of it was run. Save its '
            "weights where it comes from: torch.save({'state_dict': "
            'model.state_dict()}, ...).')
    try:
        if NATIVE:
            return torch.load(
                file,
                map_location=map_location,
                weights_only=True,
                mmap=mmap and isinstance(file, Path) and
                zipfile.is_zipfile(file))
        # torch < 2.6 has either no list to extend, or none that can hold
        # numpy's old names and the stand-in for ``getattr``: our own
        # unpickler does what ``weights_only=True`` does.
        module = types.SimpleNamespace(
            __name__='restricted', Unpickler=_RestrictedUnpickler,
            load=lambda file, **options: _RestrictedUnpickler(
                file, **options).load())
        return torch.load(file, map_location=map_location,
                          pickle_module=module, weights_only=False)
    except MemoryError:  # the file is not to blame
        raise
    except Exception as error:
        raise _explained(file, name, error) from error


def _compare(file: Union[Path, io.BytesIO], sha256: str, name: str) -> None:
    """Raise CheckpointError unless a content has a SHA-256."""
    if isinstance(file, Path):
        # a streamed member of an ensemble is loaded for every batch
        state = file.stat()
        key = (file.resolve(), state.st_size, state.st_mtime_ns, sha256)
        if key in _verified:
            return
        digest = hashlib.sha256()
        with file.open('rb') as content:
            while block := content.read(2**20):
                digest.update(block)
        actual = digest.hexdigest()
    else:
        actual = hashlib.sha256(file.getbuffer()).hexdigest()
    if actual != sha256:
        raise CheckpointError(
            f'{name}: its SHA-256 is {actual}, and not {sha256}, so it is '
            'not the file that was meant, and nothing of it was read. Get '
            f'that file, or correct the digits behind {_SHA256}.')
    if isinstance(file, Path):
        _verified.add(key)


def _is_torchscript(file: Union[Path, io.BytesIO]) -> bool:
    """Whether ``torch.load`` would take a file for a program of torch.jit."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.split('/')[-1] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    finally:
        if isinstance(file, io.BytesIO):
            file.seek(0)
    return 'constants.pkl' in names


def _explained(file: Union[Path, io.BytesIO], name: str,
               error: Exception) -> Exception:
    """The error to raise: a clearer one where the file is to blame."""
    if isinstance(file, io.BytesIO):
        file.seek(0)
    refused = [match.group(1) for pattern in _REFUSED
               for match in pattern.finditer(str(error))]
    if refused and NATIVE:
        # The message names the first one only; who is to decide whether to
        # trust the file wants to see all. Older formats have no such list.
        refused = refused[:1]
        with contextlib.suppress(Exception):
            every = torch.serialization.get_unsafe_globals_in_checkpoint(file)
            refused = sorted({name.removeprefix('builtins.')
                              for name in (*every, refused[0])})
    if refused:
        return UnsafeCheckpointError(
            f'{name}: refused, since it holds pickled objects that are not '
            f'plain data: {", ".join(refused)}. Nothing of it was run. Save '
            f'only the weights where the file comes from '
            f"(torch.save({{'state_dict': model.state_dict()}}, ...)); or, "
            f'if you trust these classes, allow them before loading: '
            f'torch.serialization.add_safe_globals([...]).')
    damage = _damage(file)
    # An OSError or RuntimeError of a whole file is of memory, device or
    # rights, and says so itself, unless torch's reader of the file raises it.
    reader = ('PytorchStreamReader', 'inline_container')
    if damage is None and isinstance(error, (OSError, RuntimeError)) and \
            not any(name in str(error) for name in reader):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CorruptCheckpointError(
        f'{name}: cannot be read as a checkpoint '
        f'({damage or lines[-1].strip()}). It is incomplete, damaged, or '
        f'was not written by torch.save; use another checkpoint, or train '
        f'again.')


def _damage(file: Union[PathLike, io.BytesIO]) -> Optional[str]:
    """What is wrong with the file itself, None if nothing is seen."""
    with contextlib.ExitStack() as stack:
        content = file if isinstance(file, io.BytesIO) else \
            stack.enter_context(Path(file).open('rb'))
        content.seek(0)
        head = content.read(16)
        if not head:
            return 'the file is empty'
        if not zipfile.is_zipfile(content):
            # A zip file has its table at its end, so a truncated one is
            # none; a file of torch < 1.6 starts with a pickled magic number.
            if head.startswith(b'PK\x03\x04'):
                return 'the file ends too early'
            magic = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
            return None if head.startswith(magic) else \
                'not a file of torch.save'
        try:
            with zipfile.ZipFile(content) as archive:
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

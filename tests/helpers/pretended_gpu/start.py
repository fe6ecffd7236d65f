"""Makes the pretended GPUs of this process, or of one that it starts."""
from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib.util
import os
import os.path as osp
import runpy
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import Optional

HERE = osp.dirname(osp.abspath(__file__))
NUMBER, NCCL = 'MMAL_PRETEND_GPU', 'MMAL_PRETEND_NCCL'
NAME = 'mmal_pretended_gpu'
# torch loads its libraries for itself alone, so that ours would not find them
TORCH_LIBRARIES = ('libtorch_global_deps.so', 'libc10.so', 'libtorch_cpu.so',
                   'libtorch.so', 'libshm.so', 'libtorch_python.so')


class Unavailable(RuntimeError):
    """There can be no pretended GPU here; the message says why."""


def is_on() -> bool:
    """Whether the GPUs of this process are pretended ones."""
    return NAME in sys.modules


def start_if_asked() -> Optional[str]:
    """Start as many GPUs as ``MMAL_PRETEND_GPU`` says, if it does.

    ``MMAL_PRETEND_NCCL=1`` gives them a pretended NCCL too, and
    ``CUDA_VISIBLE_DEVICES=-1`` hides them, as it hides real ones.

    Returns:
        str | None: Why there are none although they were asked for.
    """
    number = os.environ.get(NUMBER, '0')
    if not number.isdigit():
        raise ValueError(f'{NUMBER} is {number!r}; give a number of GPUs')
    if number == '0' or os.environ.get('CUDA_VISIBLE_DEVICES') == '-1':
        return None
    try:
        start(int(number), nccl=os.environ.get(NCCL) == '1')
    except Unavailable as e:
        return str(e)
    return None


def environment(number: int = 1, nccl: bool = False,
                paths: tuple = ()) -> dict:
    """Variables that give a python that is started pretended GPUs.

    A real GPU needs none: there, and where this process has no GPU, only
    ``paths`` are passed on.

    Args:
        number (int): How many GPUs. Defaults to 1.
        nccl (bool): Whether process groups of 'nccl' work and refuse what
            NCCL refuses. Defaults to False.
        paths (tuple[str]): Folders for its ``PYTHONPATH``.
    """
    paths = [*paths, *filter(None, [os.environ.get('PYTHONPATH')])]
    if not is_on():
        return dict(PYTHONPATH=os.pathsep.join(paths))
    # python runs sitecustomize.py there before anything else
    paths = [osp.join(HERE, 'site'), *paths]
    return {
        NUMBER: str(number),
        NCCL: str(int(nccl)),
        'PYTHONPATH': os.pathsep.join(paths)
    }


def start(number: int = 1, nccl: bool = False) -> None:
    """Give this process pretended GPUs; a second call changes nothing.

    Args:
        number (int): 1 to 8 of them. Defaults to 1.
        nccl (bool): See :func:`environment`. Defaults to False.

    Raises:
        Unavailable: If the library cannot be built for this torch.
        RuntimeError: If torch is imported already: it asks once what there is.
    """
    if is_on():
        return
    if 'torch' in sys.modules:
        raise RuntimeError('start the pretended GPU before torch is imported')
    torch_folder = importlib.util.find_spec(
        'torch').submodule_search_locations[0]
    library = build(torch_folder)
    for name in TORCH_LIBRARIES:
        path = osp.join(torch_folder, 'lib', name)
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)

    import torch

    from .nccl import replace_collectives
    from .torch_cuda import replace_torch_cuda
    spec = importlib.util.spec_from_file_location(NAME, library)
    device = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(device)
    device.start(number)
    if not device.hooks_work():
        raise Unavailable(f'torch {torch.__version__} has hooks for CUDA '
                          'already, or asks for others')
    replace_torch_cuda(torch, device)
    if nccl:
        replace_collectives(torch.distributed)
    sys.modules[NAME] = device
    # autograd's thread of the device may still let go of Python's objects
    atexit.register(time.sleep, 0.2)


def build(torch_folder: str) -> str:
    """Compile ``device.cpp`` for this torch and python, once.

    It is kept in the folder that ``MMAL_PRETEND_CACHE`` names, or in
    ``~/.cache/mmal``.

    Returns:
        str: Path of the library.

    Raises:
        Unavailable: If this cannot be; with the compiler's first error.
    """
    version = runpy.run_path(osp.join(torch_folder, 'version.py'))
    if version['cuda'] or sys.platform != 'linux':
        raise Unavailable(
            'a pretended GPU needs Linux and a torch built for CPUs, this is '
            f'{version["__version__"]} on {sys.platform}')
    source = osp.join(HERE, 'device.cpp')
    with open(source, 'rb') as f:
        made_of = hashlib.sha256(f.read())
    made_of.update(f'{version["__version__"]} {sys.version}'.encode())
    folder = os.environ.get('MMAL_PRETEND_CACHE') or osp.join(
        osp.expanduser('~'), '.cache', 'mmal')
    path = osp.join(folder, f'{NAME}_{made_of.hexdigest()[:16]}.so')
    if osp.exists(path):
        return path
    include = osp.join(torch_folder, 'include')
    command = [
        os.environ.get('CXX', 'g++'), '-O1', '-std=c++20', '-w', '-fPIC',
        '-shared', source, f'-DTORCH_EXTENSION_NAME={NAME}',
        '-D_GLIBCXX_USE_CXX11_ABI=1', '-isystem', include, '-isystem',
        osp.join(include, 'torch', 'csrc', 'api', 'include'),
        '-I' + sysconfig.get_paths()['include'],
        '-L' + osp.join(torch_folder, 'lib'), '-lc10', '-ltorch_cpu',
        '-ltorch', '-ltorch_python'
    ]
    try:
        os.makedirs(folder, exist_ok=True)
        # others may compile it at this moment too
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = osp.join(scratch, 'made.so')
            subprocess.run([*command, '-o', made],
                           check=True,
                           capture_output=True,
                           text=True)
            os.replace(made, path)
    except OSError as e:
        raise Unavailable(f'the pretended GPU cannot be compiled: {e}') from e
    except subprocess.CalledProcessError as e:
        reasons = [x for x in e.stderr.splitlines() if 'error' in x]
        raise Unavailable('the pretended GPU cannot be compiled: '
                          f'{(reasons or [e.stderr])[0]}') from e
    return path

"""A pretended NVIDIA GPU for machines without one.

After :func:`start` a CPU-only torch has real devices 'cuda:0', 'cuda:1', ...:
``is_cuda`` is true, ``torch.cuda.is_available()`` is true, the branches for
GPUs are taken, and tensors of different devices refuse each other with the
messages of CUDA, because the checks are torch's own. Only the arithmetic is
that of the CPU. ``device.cpp``, compiled once, registers for the dispatch key
CUDA an allocator of host memory, a device guard, generators, hooks and a
boxed fallback that calls the CPU's kernel on the same memory.

It finds tensors on the wrong device, operators that only GPUs call, ``numpy``
of a GPU's tensor, generators of the wrong device, CUDA in forked workers,
collectives of CPU tensors under NCCL, cuBLAS without CUBLAS_WORKSPACE_CONFIG
in deterministic mode, memory that grows (``torch.cuda.memory_allocated`` is
true), and, with :class:`Watch`, the kernels and the places that wait.

It does not find wrong CUDA kernels, rounding (TF32, atomics), races of
streams, errors of cuDNN and NCCL, nor what torch.compile does. torch's own
DistributedDataParallel does not run on it: its reducer talks to the process
group in C++.

    MMAL_PRETEND_GPU=1 python -m pytest -m cuda    # or 2, 3, ... GPUs
    MMAL_PRETEND_GPU=1 PYTHONPATH=tests/helpers/pretended_gpu/site \\
        python tools/al_train.py CONFIG            # any program

It needs a C++ compiler, the headers of Python and a torch built for CPUs.
"""
from .start import Unavailable, environment, is_on, start_if_asked
from .watch import Watch


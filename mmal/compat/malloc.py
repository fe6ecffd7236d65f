"""The C library's memory allocator."""
import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc use large freed blocks again.

    By default it returns each block of more than 32 MiB to the system when it
    is freed, and the feature maps of a batch are such blocks: on a CPU more
    time can go into clearing fresh pages than into the convolutions
    (``benchmarks/gradient_products.py --default-malloc`` shows it). The
    process keeps the most memory it ever needed.

    Returns:
        bool: Whether the allocator is glibc's and took the setting.
    """
    if not sys.platform.startswith('linux'):
        return False
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(
            mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))
    return False

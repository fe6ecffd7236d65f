"""Seconds of core-set selection: mmal's CoreSet beside scikit-activeml's.

    python benchmarks/selection.py --n-pool 50000 --n-select 200 --dim 256

Both choose in this process, from the same float32 embeddings and the same
labelled images; the ratio of their times is printed, and whether they choose
the same images in the same order. The rival is installed by
``pip install mmal[benchmarks]``.

    python benchmarks/selection.py --no-rival --n-pool 1000000 \\
        --n-select 10000 --file embeddings.npy

A large run alone: time, and the largest memory the process ever had. The
embeddings are a memory-mapped file, made if it does not exist.
"""
from __future__ import annotations

import argparse
import os
import os.path as osp
import resource
import sys
import time
from types import SimpleNamespace

import numpy as np

from mmal.selection import CoreSet

_BLOCK = 2**14
_CLUSTERS = 80
_LATENT = 12


def gaussian(rng, rows, dim, _):
    """Embeddings without any structure: the distances hardly differ."""
    return rng.standard_normal((rows, dim), np.float32)


def features(rng, rows, dim, basis):
    """Clusters on a surface of few dimensions, clipped at 0 as by ReLU."""
    centres, axes = basis
    latent = rng.standard_normal((rows, _LATENT), np.float32)
    mean = centres[rng.integers(len(centres), size=rows)]
    return np.maximum(mean + latent @ axes, 0)


KINDS = dict(gaussian=gaussian, features=features)


def make(kind, number, dim, seed, out):
    """Fill ``out`` [number, dim] in blocks."""
    rng = np.random.default_rng(seed)
    basis = (rng.standard_normal((_CLUSTERS, dim), np.float32),
             rng.standard_normal((_LATENT, dim), np.float32) / 3)
    for start in range(0, number, _BLOCK):
        rows = min(_BLOCK, number - start)
        out[start:start + rows] = KINDS[kind](rng, rows, dim, basis)
    return out


def embeddings_of(args):
    """Labelled images first, then the pool; in memory or in a file."""
    shape = (args.n_labelled + args.n_pool, args.dim)
    if args.file is None:
        return make(args.kind, *shape, args.seed, np.empty(shape, args.dtype))
    if not osp.exists(args.file):
        out = np.lib.format.open_memmap(args.file, 'w+', args.dtype, shape)
        make(args.kind, *shape, args.seed, out)
        out.flush()
    rows = np.load(args.file, mmap_mode='r')
    if rows.shape != shape:
        sys.exit(f'{args.file} has the shape {rows.shape}, not {shape}: '
                 'name another file.')
    return rows


def ours(embeddings, args):
    number = args.n_labelled
    pool = embeddings[number:]
    scores = SimpleNamespace(
        ids=range(len(pool)),
        values=np.zeros(len(pool)),
        tiebreak=np.arange(len(pool)) / len(pool))
    return CoreSet().select(scores, args.n_select, pool, embeddings[:number])


def rival(embeddings, args):
    try:
        from skactiveml.pool import CoreSet as Rival
    except ImportError:
        sys.exit('scikit-activeml is missing: pip install mmal[benchmarks], '
                 'or give --no-rival.')
    labels = np.full(len(embeddings), np.nan)
    labels[:args.n_labelled] = 0
    found = Rival(random_state=0).query(
        embeddings, labels, batch_size=args.n_select)
    return (found - args.n_labelled).tolist()


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def peak_gib():
    """The largest resident memory of this process, mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == 'darwin' else 1024) / 2**30


def anonymous_gib():
    """What it holds now without mapped files, where Linux tells."""
    try:
        with open('/proc/self/status', encoding='ascii') as f:
            lines = dict(line.split(':', 1) for line in f)
        return int(lines['RssAnon'].split()[0]) / 2**20
    except (OSError, KeyError):
        return float('nan')


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n-pool', type=int, default=50_000)
    parser.add_argument('--n-select', type=int, default=200)
    parser.add_argument('--n-labelled', type=int, default=100)
    parser.add_argument('--dim', type=int, default=256)
    parser.add_argument('--kind', choices=list(KINDS), default='features')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--no-rival', action='store_true')
    parser.add_argument('--file', help='npy file, memory-mapped')
    return parser.parse_args()


def main():
    args = parse_args()
    embeddings = embeddings_of(args)
    print(f'{args.kind}: {args.n_select:,} of {args.n_pool:,} images, '
          f'{args.n_labelled:,} labelled, d = {args.dim}, '
          f'{embeddings.dtype}, OMP_NUM_THREADS='
          f'{os.environ.get("OMP_NUM_THREADS", "unset")}')
    before = peak_gib()
    chosen, seconds = timed(ours, embeddings, args)
    print(f'mmal CoreSet              {seconds:9.2f} s   peak memory '
          f'{peak_gib():.2f} GiB (before: {before:.2f}; now without mapped '
          f'files: {anonymous_gib():.2f})')
    if args.no_rival:
        return
    theirs, other = timed(rival, np.asarray(embeddings), args)
    print(f'scikit-activeml CoreSet   {other:9.2f} s   '
          f'{other / seconds:.1f} times as long')
    same = sum(a == b for a, b in zip(chosen, theirs))
    print('the same images in the same order' if same == args.n_select else
          f'only {same} of {args.n_select} choices agree')


if __name__ == '__main__':
    main()

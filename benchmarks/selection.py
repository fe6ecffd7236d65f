"""Seconds of selection by embeddings, beside a rival.

    python benchmarks/selection.py --n-pool 50000 --n-select 200 --dim 256

core-set: mmal's CoreSet, the plain way (eight lines of float32 NumPy, in
``plain_core_set``) and scikit-activeml's choose in this process, from the same
float32 embeddings and the same labelled images; the ratios of their times to
mmal's are printed, and whether they choose the same images in the same order.
The rivals are installed by ``pip install mmdet-al[benchmarks]``; ``--rivals
plain`` needs none. ``--repeats`` takes the fastest of some runs.

    python benchmarks/selection.py --selector k-means++ --n-pool 50000 \\
        --n-select 200

k-means++: scikit-learn's kmeans_plusplus with as many local trials
(``--trials``, or ``--trials default`` for its 2 + int(log n)), weighted by
the same scores. Both are random: their potentials are printed, the mean
weighted squared distance to the nearest chosen image. ``--seeds 10`` runs
both with so many seeds, one after the other, and prints the ratios of CPU
time (which other work on the machine changes little) and potential with their
spread.

    python benchmarks/selection.py --selector sparse --n-pool 100000 \\
        --n-select 1000 --file embeddings.npy

sparse: SparseModeling (``--distance euclidean`` too); it has no rival.

    python benchmarks/selection.py --no-rival --n-pool 1000000 \\
        --n-select 10000 --file embeddings.npy

A large run alone: time, and the largest memory the process ever had. The
embeddings are a memory-mapped file, made if it does not exist.

    python benchmarks/selection.py --device cuda --selector k-means++ \\
        --trials 7

On a GPU, beside the same selector on the CPU: the ratio of their times, and
whether they choose the same images, which they should.
"""
from __future__ import annotations

import argparse
import os
import os.path as osp
import resource
import sys
import time

import numpy as np

from mmal.scores import Scores
from mmal.selection import CoreSet, KMeansPlusPlus, SparseModeling

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


def sphere(rng, rows, dim, _):
    """Directions without any structure: all lengths are one."""
    out = rng.standard_normal((rows, dim), np.float32)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def duplicates(rng, rows, dim, basis):
    """Each image ten times or so, as the frames of videos."""
    return features(rng, -(-rows // 10), dim, basis)[
        rng.integers(-(-rows // 10), size=rows)]


def one_hot(rng, rows, dim, _):
    """D different embeddings, all as far from each other."""
    return np.eye(dim, dtype=np.float32)[rng.integers(dim, size=rows)]


def outliers(rng, rows, dim, basis):
    """Features, one in some thousands of which is a million times as long."""
    out = features(rng, rows, dim, basis)
    out[-1] *= 1e6
    return out


KINDS = {
    'gaussian': gaussian,
    'features': features,
    'sphere': sphere,
    'duplicates': duplicates,
    'one-hot': one_hot,
    'outliers': outliers
}


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


def scores_of(args):
    """The same scores for all."""
    values = np.random.default_rng(args.seed).gamma(1, 1, args.n_pool)
    return Scores(
        ids=range(args.n_pool),
        values=values,
        tiebreak=np.arange(args.n_pool) / args.n_pool)


def core_set(embeddings, args):
    number = args.n_labelled
    return CoreSet(distance=args.distance, device=args.device).select(
        scores_of(args), args.n_select, embeddings[number:],
        embeddings[:number])


def plain_core_set(embeddings, args):
    labelled, pool = np.split(embeddings, [args.n_labelled])
    norms, chosen = (pool**2).sum(1), []
    nearest = norms + ((labelled**2).sum(1) - 2 * (pool @ labelled.T)).min(1)
    for _ in range(args.n_select):
        chosen.append(int(nearest.argmax()))
        centre = pool[chosen[-1]]
        nearest = np.minimum(nearest, norms - 2 * (pool @ centre)
                             + centre @ centre)
        nearest[chosen[-1]] = -1
    return chosen


def core_set_rival(embeddings, args):
    from skactiveml.pool import CoreSet as Rival
    labels = np.full(len(embeddings), np.nan)
    labels[:args.n_labelled] = 0
    found = Rival(random_state=0).query(
        embeddings, labels, batch_size=args.n_select)
    return (found - args.n_labelled).tolist()


def k_means(embeddings, args):
    selector = KMeansPlusPlus(distance=args.distance, seed=args.seed,
                              trials=args.trials, device=args.device)
    return selector.select(
        scores_of(args), args.n_select, embeddings[args.n_labelled:])


def k_means_rival(embeddings, args):
    from sklearn.cluster import kmeans_plusplus
    pool = embeddings[args.n_labelled:]
    weights = scores_of(args).values.astype(pool.dtype)
    return kmeans_plusplus(
        pool, args.n_select, sample_weight=weights,
        n_local_trials=args.trials, random_state=args.seed)[1].tolist()


def sparse(embeddings, args):
    return SparseModeling(args.distance, device=args.device).select(
        scores_of(args), args.n_select, embeddings[args.n_labelled:])


SELECTORS = {
    'core-set': ('CoreSet', core_set, {
        'plain': ('plain NumPy', plain_core_set),
        'library': ('scikit-activeml CoreSet', core_set_rival)
    }),
    'k-means++': ('KMeansPlusPlus', k_means, {
        'library': ('scikit-learn', k_means_rival)
    }),
    'sparse': ('SparseModeling', sparse, {})
}


def same_images(chosen, theirs, embeddings, args):
    same = sum(a == b for a, b in zip(chosen, theirs))
    if same == args.n_select:
        print('the same images in the same order')
    else:
        print(f'only {same} of {args.n_select} choices agree')


def potentials(chosen, theirs, embeddings, args):
    pool = embeddings[args.n_labelled:]
    ours, other = (potential(pool, c, args) for c in (chosen, theirs))
    print(f'potential {ours:.4g}, scikit-learn {other:.4g}')


def potential(pool, chosen, args):
    """The mean weighted squared distance to the nearest chosen image."""
    centres, total = pool[chosen].astype(np.float64), 0.0
    weights = scores_of(args).values
    for start in range(0, len(pool), _BLOCK):
        x = pool[start:start + _BLOCK].astype(np.float64)
        cross = (centres**2).sum(1) - 2 * x @ centres.T
        nearest = np.maximum(cross.min(1) + (x**2).sum(1), 0)
        total += weights[start:start + _BLOCK] @ nearest
    return total / len(pool)


COMPARE = {'core-set': same_images, 'k-means++': potentials}


def timed(function, embeddings, args, clock=time.perf_counter):
    """What it returns and its seconds, without those of its imports."""
    few = argparse.Namespace(**{**vars(args), 'n_pool': 9, 'n_select': 1})
    function(np.asarray(embeddings[:args.n_labelled + 9]), few)
    seconds = []
    for _ in range(args.repeats):
        start = clock()
        result = function(embeddings, args)
        seconds.append(clock() - start)
    return result, min(seconds)


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
    parser.add_argument(
        '--selector', choices=list(SELECTORS), default='core-set')
    parser.add_argument(
        '--distance', choices=['euclidean', 'cosine'], default='euclidean')
    parser.add_argument('--n-pool', type=int, default=50_000)
    parser.add_argument('--n-select', type=int, default=200)
    parser.add_argument('--n-labelled', type=int, default=100)
    parser.add_argument('--dim', type=int, default=256)
    parser.add_argument('--kind', choices=list(KINDS), default='features')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--repeats', type=int, default=1)
    parser.add_argument('--no-rival', action='store_true')
    parser.add_argument('--rivals', nargs='+', choices=['plain', 'library'],
                        default=['plain', 'library'])
    parser.add_argument('--file', help='npy file, memory-mapped')
    parser.add_argument('--trials', default='1',
                        help='of k-means++; default: 2 + int(log n)')
    parser.add_argument('--seeds', type=int, default=1,
                        help='of k-means++, from --seed on')
    parser.add_argument('--device', default='cpu',
                        help="of mmal's selectors, as 'cuda'; the CPU is "
                        'then the rival')
    args = parser.parse_args()
    if args.seeds > 1 and args.selector != 'k-means++':
        parser.error('--seeds is for --selector k-means++')
    args.trials = 2 + int(np.log(args.n_select)) \
        if args.trials == 'default' else int(args.trials)
    return args


def compare(name, rival, chosen, seconds, embeddings, args):
    """Run the rival beside what took ``seconds``."""
    if args.distance != 'euclidean':
        sys.exit('the rivals know the euclidean distance only: give '
                 '--no-rival.')
    try:
        theirs, other = timed(rival, np.asarray(embeddings), args)
    except ImportError as e:
        sys.exit(f'{e.name} is missing: pip install mmdet-al[benchmarks], or '
                 'give --no-rival.')
    print(f'{name:25} {other:9.2f} s   {other / seconds:.1f} times as long')
    COMPARE[args.selector](chosen, theirs, embeddings, args)


def compare_seeds(embeddings, args):
    """KMeansPlusPlus and scikit-learn with several seeds."""
    pool = embeddings[args.n_labelled:]
    table = []
    for seed in range(args.seed, args.seed + args.seeds):
        own = argparse.Namespace(**{**vars(args), 'seed': seed})
        of_seed = []
        for function in (k_means, k_means_rival):
            chosen, seconds = timed(function, embeddings, own,
                                    time.process_time)
            of_seed += [seconds, potential(pool, chosen, own)]
        table.append(of_seed)
    table = np.array(table)
    ratios = table[:, :2] / table[:, 2:]
    for name, column, digits in (('CPU seconds', 0, 2), ('potential', 1, 4)):
        ours, theirs = table[:, column], table[:, column + 2]
        ratio = ratios[:, column]
        print(f'{name:11} mmal {ours.mean():.4g}, scikit-learn '
              f'{theirs.mean():.4g}; ratio {ratio.mean():.{digits}f} '
              f'({ratio.min():.{digits}f} to {ratio.max():.{digits}f}, '
              f'standard error {ratio.std() / len(ratio)**.5:.{digits}f}) '
              f'of {len(ratio)} seeds')


def main():
    args = parse_args()
    embeddings = embeddings_of(args)
    name, ours, rivals = SELECTORS[args.selector]
    trials = f', {args.trials} trial(s)' if args.selector == 'k-means++' \
        else ''
    print(f'{args.kind}: {args.n_select:,} of {args.n_pool:,} images, '
          f'{args.n_labelled:,} labelled, d = {args.dim}, '
          f'{embeddings.dtype}, {args.distance}{trials}, {args.device}, '
          'OMP_NUM_THREADS='
          f'{os.environ.get("OMP_NUM_THREADS", "unset")}')
    if args.seeds > 1:
        return compare_seeds(embeddings, args)
    before = peak_gib()
    chosen, seconds = timed(ours, embeddings, args)
    print(f'{"mmal " + name:25} {seconds:9.2f} s   peak memory '
          f'{peak_gib():.2f} GiB (before: {before:.2f}; now without mapped '
          f'files: {anonymous_gib():.2f})')
    if args.device != 'cpu':
        on_cpu = argparse.Namespace(**{**vars(args), 'device': 'cpu'})
        theirs, other = timed(ours, embeddings, on_cpu)
        print(f'{"on the CPU":25} {other:9.2f} s   {other / seconds:.1f} '
              'times as long')
        same_images(chosen, theirs, embeddings, args)
        return
    for kind, (other, rival) in rivals.items():
        if kind in args.rivals and not args.no_rival:
            compare(other, rival, chosen, seconds, embeddings, args)


if __name__ == '__main__':
    main()

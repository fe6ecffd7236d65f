"""Embeddings of images as points of a plane."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

# Enough for the two widest directions, and for a picture.
FITTED, SHOWN = 1500, 3000
# What UMAP compares an image with; so many images or fewer are too few for it
# and for t-SNE.
NEIGHBOURS = 15
_TOO_FEW = f'UMAP and t-SNE need more than {NEIGHBOURS} images.'


@dataclass(frozen=True)
class EmbeddingMap:
    """n images on a plane.

    Args:
        rows (np.ndarray): int64 [n], which rows of the embeddings they are.
        points (np.ndarray): float64 [n, 2].
        axes (tuple[str, str]): What stands along either axis.
        text (str): What the plane is, for a sentence.
        note (str): Why it is not the one that was asked for.
    """
    rows: np.ndarray
    points: np.ndarray
    axes: tuple[str, str]
    text: str
    note: str = ''


def principal_components(embeddings: np.ndarray,
                         keep: np.ndarray) -> EmbeddingMap:
    """Principal components (Pearson, 1901) of a sample, and where images lie.

    At most ``FITTED`` rows are decomposed and ``SHOWN`` are placed, whatever
    N: O(FITTED² · D).

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped; N at least 1.
        keep (np.ndarray): bool [N], rows to show whatever their number. Of the
            others a regular sample is shown.

    Returns:
        EmbeddingMap: Rows ascending. The sign of an axis is such that its
        largest weight is positive.
    """
    number = len(embeddings)
    rows = _shown_rows(keep)
    sample = np.asarray(embeddings[_spread(number, FITTED)], dtype=np.float64)
    mean = sample.mean(0)
    _, lengths, axes = np.linalg.svd(sample - mean, full_matrices=False)
    axes = axes[:2]
    if len(axes) < 2:  # one image, or one number of each
        axes = np.concatenate([axes, np.zeros((2 - len(axes), len(mean)))])
    strongest = np.take_along_axis(
        axes, np.abs(axes).argmax(1)[:, None], axis=1)
    axes = axes * np.where(strongest < 0, -1.0, 1.0)
    variances = np.square(lengths)
    total = variances.sum() or 1.0
    shares = [*(variances / total), 0.0, 0.0][:2]
    points = (np.asarray(embeddings[rows], dtype=np.float64) - mean) @ axes.T
    names = (f'component {i} ({share:.0%} of the variance)'
             for i, share in enumerate(shares, 1))
    return EmbeddingMap(rows, points, tuple(names),
                        'their first two principal components')


def umap(embeddings: np.ndarray, keep: np.ndarray) -> EmbeddingMap:
    """UMAP (McInnes, Healy and Melville, arXiv:1802.03426).

    It keeps neighbours together; distances between groups, directions and
    densities mean little. It starts at the principal components, with one
    seed and one thread: the same embeddings have the same map on one machine.
    The first call compiles for up to a minute.

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped; N at least 1.
        keep (np.ndarray): bool [N], rows to show whatever their number. Of the
            others a regular sample is shown, ``SHOWN`` in all.

    Returns:
        EmbeddingMap: Rows ascending. ``NEIGHBOURS`` images or fewer have
        principal components, and a note.

    Raises:
        ImportError: If umap-learn is not installed, or cannot be imported.
    """
    try:
        from umap import UMAP
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            f'UMAP needs {e.name}, which is not installed: pip install '
            "'mmdet-al[umap]', or take --map pca.", name=e.name) from e
    except ImportError as e:
        # its own words may say where packages lie, and stand on a page
        raise ImportError(
            'UMAP cannot be imported, though there is a package umap (python '
            '-c "from umap import UMAP" says why): pip install '
            "'mmdet-al[umap]', or take --map pca.", name=e.name) from e
    return _of_neighbours('UMAP', embeddings, keep, lambda rows, init: UMAP(
        n_neighbors=NEIGHBOURS, init=init.astype(np.float32), random_state=0,
        n_jobs=1).fit_transform(rows))


def tsne(embeddings: np.ndarray, keep: np.ndarray) -> EmbeddingMap:
    """t-SNE (van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008).

    It keeps neighbours together; distances between groups and densities mean
    little. It starts at the principal components, with one seed. The
    perplexity is 30, or a third of the images.

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped; N at least 1.
        keep (np.ndarray): bool [N], rows to show whatever their number. Of the
            others a regular sample is shown, ``SHOWN`` in all.

    Returns:
        EmbeddingMap: Rows ascending. ``NEIGHBOURS`` images or fewer have
        principal components, and a note.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as e:
        raise ImportError(
            't-SNE needs scikit-learn, which cannot be imported: pip install '
            "'mmdet-al[tsne]', or take --map pca.", name=e.name) from e

    def lay_out(rows: np.ndarray, init: np.ndarray) -> np.ndarray:
        # points that begin close together find their groups (its own 'pca')
        init = init / (init[:, 0].std() or 1.0) * 1e-4
        return TSNE(perplexity=min(30, (len(rows) - 1) / 3),
                    init=init.astype(np.float32), random_state=0,
                    n_jobs=1).fit_transform(rows)

    return _of_neighbours('t-SNE', embeddings, keep, lay_out)


MAPS: dict[str, Callable[[np.ndarray, np.ndarray], EmbeddingMap]] = dict(
    pca=principal_components, umap=umap, tsne=tsne)


def _of_neighbours(
        name: str, embeddings: np.ndarray, keep: np.ndarray,
        lay_out: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> EmbeddingMap:
    """The points of a method that begins at the principal components and
    needs more than ``NEIGHBOURS`` images."""
    start = principal_components(embeddings, keep)
    if len(start.rows) <= NEIGHBOURS:
        return replace(start, note=_TOO_FEW)
    points = lay_out(np.asarray(embeddings[start.rows], dtype=np.float32),
                     start.points)
    return EmbeddingMap(
        start.rows, points.astype(np.float64), (f'{name} 1', f'{name} 2'),
        f'a plane by {name}, which keeps neighbours together: distances '
        'between groups mean little')


def _shown_rows(keep: np.ndarray) -> np.ndarray:
    """Rows to show, ascending: those to keep, and of the others as many as
    leave ``SHOWN`` in all."""
    others = np.flatnonzero(~keep)
    left = max(0, SHOWN - int(keep.sum()))
    others = others[_spread(len(others), left)]
    return np.sort(np.concatenate([np.flatnonzero(keep), others]))


def _spread(number: int, most: int) -> np.ndarray:
    """At most so many of ``range(number)``, at equal distances."""
    if number <= most:
        return np.arange(number)
    return np.linspace(0, number - 1, most).round().astype(np.int64) \
        if most else np.arange(0)

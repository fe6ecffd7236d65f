"""Greedy k-center the slow way, and scores to try it on."""
import numpy as np

from mmal.scores import Scores


def scores_of(values, tiebreak=None):
    n = len(values)
    if tiebreak is None:
        tiebreak = np.random.default_rng(n).permutation(n) / max(n, 1)
    return Scores([f'image {i}' for i in range(n)],
                  np.array(values, dtype=float),
                  np.array(tiebreak, dtype=float))


def euclidean(x, y):
    return np.sqrt(((x - y)**2).sum(-1))


def squared(x, y):
    return ((x - y)**2).sum(-1)


def cosine(x, y):
    cos = (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(
        y, axis=-1)
    return 1 - cos


def k_center(scores, n, embeddings, centres, weights=None,
             distance=squared):
    """Positions of n images, one full pass over the pool for each."""
    x = np.asarray(embeddings, np.float64)
    nearest = np.full(len(x), np.inf)
    for centre in np.asarray(centres, np.float64):
        nearest = np.minimum(nearest, distance(x, centre))
    weights = np.ones(len(x)) if weights is None else weights
    left, chosen = set(range(len(x))), []
    for _ in range(n):
        best = min(left, key=lambda i: (-weights[i] * nearest[i], scores.
                                        tiebreak[i]))
        left.remove(best)
        chosen.append(best)
        nearest = np.minimum(nearest, distance(x, x[best]))
    return [scores.ids[i] for i in chosen]

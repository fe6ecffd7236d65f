import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import entropy_suppression


def by_hand(entropies, labels, features, keep, threshold):
    """One detection after another, as the paper says it."""
    left, taken = [n for n in range(len(keep)) if keep[n]], set()
    while left:
        best = max(left, key=lambda n: (entropies[n], -n))
        taken.add(best)
        f = features[best] / np.linalg.norm(features[best])
        left = [n for n in left if n != best and not (
            labels[n] == labels[best] and
            features[n] @ f / np.linalg.norm(features[n]) > threshold)]
    return [n in taken for n in range(len(keep))]


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(0, 7),
       st.sampled_from([-1., 0., .5, .9]))
def test_equals_one_after_another(seed, batch, number, threshold):
    rng = np.random.default_rng(seed)
    entropies = rng.choice([.1, .2, .3, .4], (batch, number))
    labels = rng.integers(0, 2, (batch, number))
    features = rng.normal(size=(batch, number, 3))
    keep = rng.uniform(size=(batch, number)) < .8
    found = entropy_suppression(*map(
        torch.from_numpy, (entropies, labels, features, keep)), threshold)
    for n in range(batch):
        assert found[n].tolist() == by_hand(
            entropies[n], labels[n], features[n], keep[n], threshold)

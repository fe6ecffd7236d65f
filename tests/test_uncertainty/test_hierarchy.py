"""The aggregation of anchors against loops over objects, levels, classes."""
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import hierarchical_aggregation

REDUCE = dict(sum=np.sum, mean=np.mean, max=np.max)
STEPS = list(itertools.product(REDUCE, repeat=3))


def by_hand(values, members, levels, classes, steps):
    """Of one image: [P], [P, n], [P] and [P]."""
    over_classes, over_levels, over_objects = (REDUCE[s] for s in steps)
    objects = []
    for o in range(members.shape[1]):
        of_levels = []
        for level in sorted(set(levels)):
            of_classes = []
            for c in sorted(set(classes)):
                inside = [v for v, m, s, k in zip(
                    values, members[:, o], levels, classes)
                    if m and s == level and k == c]
                if inside:
                    of_classes.append(np.mean(inside))
            if of_classes:
                of_levels.append(over_classes(of_classes))
        if of_levels:
            objects.append(over_levels(of_levels))
    return over_objects(objects) if objects else 0.


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 8), st.integers(0, 4), st.integers(1, 3),
       st.integers(1, 3), st.sampled_from(STEPS), st.integers(0, 999))
def test_equals_loops(anchors, objects, levels, classes, steps, seed):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(2, anchors, generator=rng)  # below 0 too
    members = torch.rand(2, anchors, objects, generator=rng) < .5
    level = torch.randint(levels, (anchors, ), generator=rng)
    label = torch.randint(classes, (2, anchors), generator=rng)
    got = hierarchical_aggregation(
        values, members, level, label, (levels, classes), steps)
    expected = [by_hand(values[b].double().numpy(), members[b].numpy(),
                        level.tolist(), label[b].tolist(), steps)
                for b in range(2)]
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected)


def test_what_belongs_to_no_object_does_not_count():
    """Not even where it is no number."""
    members = torch.tensor([[[True], [False]]])
    levels, classes = torch.tensor([0, 0]), torch.zeros(1, 2).long()
    for other in (7., float('inf'), float('nan')):
        values = torch.tensor([[.5, other]])
        assert hierarchical_aggregation(
            values, members, levels, classes, (1, 1)).tolist() == [.5]

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scoring.dense.aggregation import AGGREGATIONS, aggregate

FUNCTIONS = dict(mean=np.mean, max=np.max, sum=np.sum)
value = st.floats(-1e3, 1e3, width=32)
rows = st.lists(
    st.lists(st.tuples(value, st.booleans()), min_size=3, max_size=3),
    min_size=1,
    max_size=4)


@settings(max_examples=40, deadline=None)
@given(rows, st.sampled_from(AGGREGATIONS))
def test_only_masked_values_count(rows, how):
    values = torch.tensor([[v for v, _ in row] for row in rows])
    mask = torch.tensor([[kept for _, kept in row] for row in rows])
    found = aggregate(values, how, mask).numpy()
    for got, row in zip(found, rows):
        kept = [v for v, k in row if k]
        truth = FUNCTIONS[how](kept) if kept else -np.inf
        assert got == pytest.approx(truth, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize('how', AGGREGATIONS)
def test_without_mask_all_values_count(how):
    values = torch.tensor([[3., -1., 4.], [-2., -7., -1.]])
    truth = FUNCTIONS[how](values.numpy(), axis=1)
    np.testing.assert_allclose(aggregate(values, how).numpy(), truth)


@pytest.mark.parametrize('how', AGGREGATIONS)
def test_images_without_values_are_last(how):
    empty = torch.zeros(2, 0)
    assert (aggregate(empty, how) == -float('inf')).all()


def test_masked_infinities_do_not_spread():
    values = torch.tensor([[1., float('inf')]])
    mask = torch.tensor([[True, False]])
    for how in AGGREGATIONS:
        assert aggregate(values, how, mask).tolist() == [1.]


def test_unknown_aggregation_names_the_key():
    with pytest.raises(ValueError, match=r"scorer\.aggregation is 'median'"):
        aggregate(torch.zeros(1, 1), 'median')

"""Margins and least confidence against sorting."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import (
    binary_least_confidence,
    binary_margin_uncertainty,
    categorical_least_confidence,
    categorical_margin_uncertainty,
)

logits = st.lists(
    st.floats(-1e4, 1e4, width=32), min_size=1, max_size=6)
probabilities = st.lists(
    st.floats(0, 1, width=32), min_size=0, max_size=6)
kinds = st.sampled_from([torch.float16, torch.float32, torch.float64])


@settings(max_examples=80, deadline=None)
@given(logits, kinds)
def test_categorical(values, dtype):
    p = torch.tensor(values, dtype=torch.float64).softmax(0).to(dtype)
    best = sorted(p.double().tolist(), reverse=True) + [0.0]
    for dim, x in ((-1, p[None]), (0, p[:, None])):
        least = categorical_least_confidence(x, dim)
        margin = categorical_margin_uncertainty(x, dim)
        assert least.shape == margin.shape == (1, )
        assert least.dtype == margin.dtype != torch.float16
        assert float(least) == pytest.approx(1 - best[0], abs=1e-6)
        assert float(margin) == pytest.approx(
            1 - (best[0] - best[1]), abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(probabilities, kinds)
def test_binary_is_categorical_of_two(values, dtype):
    p = torch.tensor(values, dtype=dtype)
    both = torch.stack([p.double(), 1 - p.double()], -1)
    least, margin = binary_least_confidence(p), binary_margin_uncertainty(p)
    torch.testing.assert_close(
        least.double(), categorical_least_confidence(both), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        margin.double(), categorical_margin_uncertainty(both), atol=1e-6,
        rtol=0)
    assert ((least >= 0) & (least <= 0.5) & (margin <= 1)).all()


def test_the_smallest_probabilities_are_not_rounded_away():
    p = torch.tensor([1e-12, 1e-30])
    assert torch.equal(binary_least_confidence(p), p)
    assert torch.equal(binary_margin_uncertainty(p), 2 * p)


def test_values_just_outside_count_as_the_ends():
    p = torch.tensor([-1e-7, 1 + 1e-7])
    assert binary_least_confidence(p).tolist() == [0, 0]
    assert categorical_least_confidence(p) == 0
    assert categorical_margin_uncertainty(p) == 0

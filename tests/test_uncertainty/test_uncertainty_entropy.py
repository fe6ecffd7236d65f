import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import binary_entropy, categorical_entropy


def entropy_by_hand(probs):
    return -sum(p * math.log(p) for p in probs if p > 0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0., 1e-30, 0.1, 1., 7.]), min_size=1))
def test_categorical_equals_the_sum_by_hand(masses):
    if not sum(masses):
        masses = [1., *masses]
    probs = [m / sum(masses) for m in masses]
    got = float(categorical_entropy(torch.tensor(probs, dtype=torch.double)))
    assert got == pytest.approx(entropy_by_hand(probs), abs=1e-12)
    assert -1e-12 <= got <= math.log(len(probs)) + 1e-12


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1))
def test_binary_is_categorical_of_two(p):
    two = torch.tensor([p, 1 - p], dtype=torch.double)
    torch.testing.assert_close(
        binary_entropy(two[0]), categorical_entropy(two))


def test_certain_predictions_have_entropy_zero():
    certain = torch.tensor([0., 1.])
    assert binary_entropy(certain).tolist() == [0, 0]
    assert float(categorical_entropy(certain)) == 0


@pytest.mark.parametrize('entropy', [binary_entropy, categorical_entropy])
def test_rounding_past_the_ends_and_half_precision(entropy):
    probs = torch.tensor([[1.0000001, -1e-8], [0.5, 0.5]])
    assert entropy(probs).isfinite().all()
    half = entropy(probs.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, entropy(probs), atol=1e-3, rtol=0)


def test_any_dimension_and_no_rows():
    probs = torch.rand(2, 5, 3).softmax(1)
    torch.testing.assert_close(
        categorical_entropy(probs, dim=1),
        categorical_entropy(probs.transpose(1, 2)))
    assert categorical_entropy(torch.zeros(0, 5)).shape == (0, )
    assert binary_entropy(torch.zeros(0, 5)).shape == (0, 5)

"""BALD against a numeric integral, difficulty against eq. 3 by hand."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, ndtr

from mmal.uncertainty import bald, difficulty

REALS = st.floats(allow_nan=False, width=32)
DTYPES = st.sampled_from([torch.float16, torch.float32, torch.float64])
NODES = np.linspace(-9, 9, 4001)
DENSITY = np.exp(-NODES**2 / 2) / np.exp(-NODES**2 / 2).sum()


def bits(probs):
    return (entr(probs) + entr(1 - probs)) / math.log(2)


def exact(mean, std):
    """H[E Phi(z)] - E H[Phi(z)] of z ~ N(mean, std^2) by quadrature."""
    probs = ndtr(mean + std * NODES)
    return bits(DENSITY @ probs) - DENSITY @ bits(probs)


def test_is_within_two_hundredths_of_a_bit_of_the_integral():
    means, stds = np.meshgrid(np.linspace(-8, 8, 65), np.linspace(0, 8, 33))
    expected = np.vectorize(exact)(means, stds)
    found = bald(torch.tensor(means), torch.tensor(stds)).numpy()
    assert expected.max() > 0.7
    assert np.abs(found - expected).max() <= 0.02
    # what was measured: 0.0026 at μ = 2, σ = 0.25
    assert np.abs(found - expected).max() == pytest.approx(0.0026, abs=2e-4)


def test_the_total_entropy_is_exact():
    """Eq. 2's first term has no approximation: E Phi(z) in closed form."""
    for mean, std in [(0.3, 0.), (-2., 1.5), (5., 8.)]:
        total = DENSITY @ ndtr(mean + std * NODES)
        assert total == pytest.approx(ndtr(mean / math.hypot(std, 1)))


@settings(deadline=None, max_examples=200)
@given(REALS, REALS, DTYPES)
def test_is_symmetric_and_within_one_bit_for_any_input(mean, std, dtype):
    mean, std = (torch.tensor([x]).to(dtype) for x in (mean, std))
    found = bald(mean, std)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert 0 <= found <= 1
    assert torch.equal(found, bald(-mean, std))


@settings(deadline=None, max_examples=200)
@given(REALS, REALS)
def test_gradients_are_finite_for_any_input(mean, std):
    mean, std = (torch.tensor([x], requires_grad=True) for x in (mean, std))
    bald(mean, std).sum().backward()
    assert mean.grad.isfinite() and std.grad.isfinite()


def test_gradients():
    mean = torch.tensor([-2., 0.3, 4.], dtype=torch.float64)
    std = torch.tensor([0.5, 2., 7.], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        bald, (mean.requires_grad_(), std.requires_grad_()))


def test_grows_with_the_standard_deviation_at_the_boundary():
    found = bald(torch.zeros(99), torch.linspace(0, 50, 99))
    assert found[0] == 0
    assert (found.diff() > 0).all()


@pytest.mark.parametrize('shape', [(0,), (0, 3), (2, 0)])
def test_no_elements(shape):
    assert bald(torch.zeros(shape), torch.zeros(shape)).shape == shape
    correct = torch.zeros(shape, dtype=torch.bool)
    assert difficulty(torch.zeros(shape), correct).shape == shape


@settings(deadline=None, max_examples=100)
@given(st.floats(0, 1), st.booleans())
def test_difficulty_is_eq_3(uncertainty, correct):
    u = 1 / (1 + math.exp(-uncertainty))
    expected = 0.5 * u if correct else 0.5 * (1.0 - u) + 0.5
    found = difficulty(
        torch.tensor(uncertainty, dtype=torch.float64), torch.tensor(correct))
    assert found.item() == pytest.approx(expected)


def test_difficulty_orders_predictions_as_the_slides_assume():
    uncertainty = torch.linspace(0, 1, 50)
    correct = difficulty(uncertainty, torch.ones(50, dtype=torch.bool))
    wrong = difficulty(uncertainty, torch.zeros(50, dtype=torch.bool))
    assert correct[0] == 0.25 and correct.max() < 0.3656
    assert wrong[0] == 0.75 and wrong.min() > 0.6344
    assert (correct.diff() > 0).all() and (wrong.diff() < 0).all()


def test_difficulty_of_float16_is_float32():
    found = difficulty(torch.ones(1).half(), torch.tensor([True]))
    assert found.dtype == torch.float32

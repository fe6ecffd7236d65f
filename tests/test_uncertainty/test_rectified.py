"""Moments behind a ReLU against numeric integrals."""
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from mmal.uncertainty import rectified_moments


def integral(mean, variance, power):
    std = math.sqrt(variance)

    def f(z):
        x = max(0.0, mean + std * z)
        return x**power * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    kink = min(12.0, max(-12.0, -mean / std))
    return sum(quad(f, a, b, epsabs=1e-13, limit=200)[0]
               for a, b in ((-12, kink), (kink, 12)))


@pytest.mark.parametrize('mean', [-6.0, -1.0, 0.0, 0.3, 2.0, 9.0])
@pytest.mark.parametrize('variance', [0.01, 1.0, 30.0])
def test_moments_are_those_of_an_integral(mean, variance):
    first, second = integral(mean, variance, 1), integral(mean, variance, 2)
    both = torch.tensor([mean, variance], dtype=torch.float64)
    found = rectified_moments(*both)
    assert found[0].item() == pytest.approx(first, rel=1e-8, abs=1e-11)
    assert found[1].item() == pytest.approx(
        second - first**2, rel=1e-6, abs=1e-10)


def test_a_large_mean_leaves_the_variance_in_float32():
    mean, variance = rectified_moments(torch.tensor(1e4), torch.tensor(1e-4))
    assert mean == 1e4 and variance == pytest.approx(1e-4, rel=1e-5)


def test_no_variance_is_a_relu():
    x = torch.tensor([-2.0, 0.0, 3.0])
    mean, variance = rectified_moments(x, torch.zeros(3))
    assert torch.allclose(mean, x.relu(), atol=1e-6)
    assert not variance.any()


@given(
    mean=st.floats(-1e15, 1e15),
    variance=st.floats(0, 1e15),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_values_and_gradients_are_finite(mean, variance, dtype):
    limit = 6e4 if dtype == torch.float16 else 1e15
    inputs = [torch.tensor(min(max(v, -limit), limit), dtype=dtype,
                           requires_grad=True) for v in (mean, variance)]
    found = rectified_moments(*inputs)
    sum(found).backward()
    for value in (*found, *(x.grad for x in inputs)):
        assert value.isfinite()
    assert min(found) >= 0


def test_gradients_are_right():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(20, generator=generator).double().mul(2)
    variance = torch.rand(20, generator=generator).double().add(0.1)
    assert torch.autograd.gradcheck(
        rectified_moments, (mean.requires_grad_(), variance.requires_grad_()))


def test_no_elements():
    mean, variance = rectified_moments(torch.zeros(0, 3), torch.zeros(0, 3))
    assert mean.shape == variance.shape == (0, 3)

"""Closed forms of a Dirichlet against sums over samples and quadrature."""
import math

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Categorical, Dirichlet

from mmal.uncertainty import (
    dirichlet_expected_entropy,
    dirichlet_mutual_information,
)


@pytest.mark.parametrize('a, b', [(1, 1), (.3, 2), (5, .7), (40, 3)])
def test_two_classes_against_quadrature(a, b):
    beta = stats.beta(a, b)
    expected, _ = integrate.quad(
        lambda p: beta.pdf(p) * stats.bernoulli.entropy(p), 0, 1)
    alpha = torch.tensor([a, b], dtype=torch.double)
    assert float(dirichlet_expected_entropy(alpha)) == pytest.approx(
        expected, abs=1e-6)
    assert float(dirichlet_mutual_information(alpha)) == pytest.approx(
        stats.bernoulli.entropy(a / (a + b)) - expected, abs=1e-6)


@pytest.mark.parametrize('alpha', [
    [1., 1., 1.], [.2, 3., .5, 8.], [20., 1., 1.]])
def test_many_classes_against_samples(alpha):
    torch.manual_seed(0)
    samples = Dirichlet(torch.tensor(alpha, dtype=torch.double)).sample(
        (200_000, ))
    entropies = Categorical(samples).entropy()
    error = 4 * float(entropies.std()) / math.sqrt(len(samples))
    got = dirichlet_expected_entropy(torch.tensor(alpha))
    assert abs(float(got) - float(entropies.mean())) < error
    of_mean = float(Categorical(samples.mean(0)).entropy())
    information = dirichlet_mutual_information(torch.tensor(alpha))
    assert abs(float(information)
               - (of_mean - float(entropies.mean()))) < 2 * error


def test_more_evidence_leaves_less_to_learn():
    """About (C - 1) / 2 over the evidence, and never below 0."""
    mean = torch.tensor([.5, .3, .2], dtype=torch.double)
    evidence = torch.logspace(-2, 6, 30, dtype=torch.double)
    information = dirichlet_mutual_information(evidence[:, None] * mean)
    assert (information.diff() < 0).all() and information.min() >= 0
    assert float(information[-1] * evidence[-1]) == pytest.approx(1, rel=1e-2)
    in_single = dirichlet_mutual_information(
        (evidence[:, None] * mean).float())
    assert in_single.dtype == torch.float32 and in_single.min() >= 0


def test_classes_without_evidence_do_not_count():
    alpha = torch.tensor([2., 0., 3., 0.], dtype=torch.double)
    for of in (dirichlet_expected_entropy, dirichlet_mutual_information):
        assert float(of(alpha)) == pytest.approx(float(of(alpha[[0, 2]])))


def test_gradients():
    alpha = torch.tensor([[.4, 2., 7.], [1., 1., 1.]], dtype=torch.double,
                         requires_grad=True)
    assert torch.autograd.gradcheck(dirichlet_expected_entropy, alpha)
    assert torch.autograd.gradcheck(dirichlet_mutual_information, alpha)

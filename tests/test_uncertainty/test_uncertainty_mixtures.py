import torch

from mmal.uncertainty import (
    aleatoric,
    epistemic,
    mixture_mean,
    softmax_aleatoric,
)


def example(columns=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(
        5, 4, columns, generator=generator).double().softmax(1)
    means = 2 * torch.randn(5, 4, 3, generator=generator).double()
    variances = torch.rand(5, 4, 3, generator=generator).double()
    return weights, means, variances


def test_equals_loops_over_components():
    for columns in (1, 3):
        weights, means, variances = example(columns)
        pi = weights.expand(5, 4, 3)
        for i in range(5):
            for d in range(3):
                p, m, v = pi[i, :, d], means[i, :, d], variances[i, :, d]
                mean = sum(p[k] * m[k] for k in range(4))
                spread = sum(p[k] * (m[k] - mean)**2 for k in range(4))
                noise = sum(p[k] * v[k] for k in range(4))
                torch.testing.assert_close(
                    mixture_mean(weights, means)[i, d], mean)
                torch.testing.assert_close(
                    epistemic(weights, means)[i, d], spread)
                torch.testing.assert_close(
                    aleatoric(weights, variances)[i, d], noise)


def test_aleatoric_and_epistemic_add_up_to_the_variance_of_draws():
    weights, means, variances = (t[:1] for t in example(1))
    generator = torch.Generator().manual_seed(1)
    n = 200_000
    k = torch.multinomial(
        weights[0, :, 0], n, replacement=True, generator=generator)
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    draws = means[0, k] + variances[0, k].sqrt() * noise
    total = aleatoric(weights, variances) + epistemic(weights, means)
    torch.testing.assert_close(
        draws.var(dim=0), total[0], rtol=0.02, atol=0)
    torch.testing.assert_close(
        draws.mean(dim=0), mixture_mean(weights, means)[0], rtol=0, atol=0.03)


def test_one_component_has_no_epistemic_uncertainty_at_all():
    means = torch.randn(7, 1, 4) * 1e4
    assert not epistemic(torch.ones(7, 1, 1), means).any()


def test_softmax_aleatoric_is_the_diagonal_of_eq_8():
    weights, logits, _ = example(1)
    probs = logits.softmax(-1)
    matrices = torch.diag_embed(probs) - torch.einsum(
        'nkc,nkd->nkcd', probs, probs)
    expected = (weights[..., None] * matrices).sum(1).diagonal(
        dim1=-2, dim2=-1)
    torch.testing.assert_close(softmax_aleatoric(weights, probs), expected)

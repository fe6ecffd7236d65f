import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, MixtureSameFamily, Normal

from mmal.models.layers import GaussianMixture

EXTREME = [-6e4, -1e4, -90., -1., 0., 0.5, 88., 1e4, 6e4]


def raw(n=6, k=3, d=4, columns=None, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(last):
        return 2 * torch.randn(n, k, last, generator=generator, dtype=dtype)

    return draw(d), draw(d), draw(columns or d)


def reference(means, variance_logits, weight_logits):
    """The same mixture by torch.distributions."""
    weights = weight_logits.expand_as(means).transpose(1, 2)
    std = variance_logits.sigmoid().sqrt().transpose(1, 2)
    return MixtureSameFamily(
        Categorical(logits=weights), Normal(means.transpose(1, 2), std))


@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('columns', [1, 4])
def test_equals_torch_distributions(k, columns):
    values = raw(k=k, columns=columns)
    mixture, truth = GaussianMixture.from_raw(*values), reference(*values)
    x = torch.linspace(-5, 5, 24, dtype=torch.float64).view(6, 4)
    torch.testing.assert_close(mixture.log_prob(x), truth.log_prob(x))
    torch.testing.assert_close(mixture.mean, truth.mean)
    torch.testing.assert_close(mixture.aleatoric + mixture.epistemic,
                               truth.variance)
    assert mixture.num_components == k


def test_density_integrates_to_one():
    mixture = GaussianMixture.from_raw(*raw(n=2))
    grid = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
    for row in range(2):
        one = mixture[row]
        wide = GaussianMixture(*(t.expand(len(grid), 3, 4) for t in (
            one.means, one.variances, one.log_weights)))
        density = wide.log_prob(grid[:, None].expand(-1, 4)).exp()
        total = torch.trapezoid(density, grid, dim=0)
        torch.testing.assert_close(
            total, torch.ones(4, dtype=torch.float64), atol=1e-8, rtol=0)


def test_uncertainties_add_up_to_the_variance_of_draws():
    values = raw(n=3)
    mixture = GaussianMixture.from_raw(*values)
    torch.manual_seed(0)
    draws = reference(*values).sample((50_000, ))
    torch.testing.assert_close(
        mixture.aleatoric + mixture.epistemic,
        draws.var(dim=0),
        rtol=0.04,
        atol=0)
    torch.testing.assert_close(
        mixture.mean, draws.mean(dim=0), rtol=0, atol=0.06)


@pytest.mark.parametrize('columns', [1, 4])
def test_gradients_of_every_quantity(columns):
    values = [t.requires_grad_() for t in raw(n=2, columns=columns)]
    x = torch.zeros(2, 4, dtype=torch.float64)

    def outputs(*values):
        mixture = GaussianMixture.from_raw(*values)
        return (mixture.log_prob(x), mixture.mean, mixture.aleatoric,
                mixture.epistemic)

    assert torch.autograd.gradcheck(outputs, values)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3), st.integers(1, 4), st.sampled_from([1, 4]),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    st.data())
def test_finite_for_extreme_logits(n, k, columns, dtype, data):

    def draw(last):
        size = n * k * last
        numbers = data.draw(
            st.lists(
                st.sampled_from(EXTREME), min_size=size, max_size=size))
        return torch.tensor(numbers).view(n, k, last).to(dtype)

    values = [draw(4), draw(4), draw(columns)]
    assert GaussianMixture.from_raw(*values).means.dtype == torch.float32
    raised = [v.float().requires_grad_() for v in values]
    mixture = GaussianMixture.from_raw(*raised)
    outputs = [
        mixture.mean, mixture.aleatoric, mixture.epistemic,
        mixture.log_prob(torch.ones(n, 4, dtype=dtype))
    ]
    assert (mixture.variances >= 0.99e-7).all()
    assert (mixture.variances <= 1).all()
    for output in outputs:
        assert output.shape == (n, 4) and output.isfinite().all()
        grads = torch.autograd.grad(
            output.sum(), raised, retain_graph=True, allow_unused=True)
        assert all(g.isfinite().all() for g in grads if g is not None)


def test_infinite_targets_and_far_means_keep_gradients_finite():
    values = [t.requires_grad_() for t in raw(n=2, dtype=torch.float32)]
    mixture = GaussianMixture.from_raw(1e30 * values[0], *values[1:])
    x = torch.tensor([[np.inf, -np.inf, 0., 1e38]] * 2)
    density = mixture.log_prob(x)
    assert density.isfinite().all()
    for grad in torch.autograd.grad(density.sum(), values):
        assert grad.isfinite().all()


def test_indexing_takes_rows_of_all_parts():
    mixture = GaussianMixture.from_raw(*raw(columns=1))
    for index in (torch.tensor([4, 1]), torch.arange(6) % 2 == 1, 3,
                  slice(2)):
        for name in ('mean', 'aleatoric', 'epistemic', 'weights'):
            assert torch.equal(
                getattr(mixture[index], name), getattr(mixture, name)[index])


def test_any_leading_dimensions():
    values = raw(n=6)
    folded = [t.view(2, 3, *t.shape[1:]) for t in values]
    many = GaussianMixture.from_raw(*folded)
    flat = GaussianMixture.from_raw(*values)
    x = torch.zeros(6, 4, dtype=torch.float64)
    assert torch.equal(
        many.log_prob(x.view(2, 3, 4)).view(6, 4), flat.log_prob(x))
    assert torch.equal(many.epistemic.view(6, 4), flat.epistemic)


@pytest.mark.parametrize('variances, weights', [
    ((5, 2, 3), (5, 2, 4)),
    ((5, 2, 4), (5, 4)),
    ((5, 2, 4), (5, 2, 3)),
])
def test_refuses_shapes_that_do_not_fit(variances, weights):
    with pytest.raises(ValueError, match=r'a mixture got means \(5, 2, 4\)'):
        GaussianMixture(
            torch.zeros(5, 2, 4), torch.ones(variances), torch.zeros(weights))


def test_refuses_no_components():
    with pytest.raises(ValueError, match='K >= 1'):
        GaussianMixture(*torch.zeros(3, 5, 0, 4))

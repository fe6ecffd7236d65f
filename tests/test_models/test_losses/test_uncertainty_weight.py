import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.layers import ClassMixture, GaussianMixture
from mmal.models.losses import uncertainty_weight


def raw(n=4, k=3, c=5, scale=1., seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, k, 4), (n, k, 4), (n, k, 4), (n, k, c), (n, k))
    return [
        scale * torch.randn(s, generator=generator, dtype=torch.float64)
        for s in shapes
    ]


def mixtures(values):
    return (GaussianMixture.from_raw(*values[:3]),
            ClassMixture.from_raw(values[3], None, values[4]))


@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('alpha', [0., 1., 4.])
def test_equals_eq_9_row_by_row(k, alpha):
    values = raw(k=k)
    label = torch.tensor([0, 4, 2, 1])
    got = uncertainty_weight(*mixtures(values), label, alpha)
    _, variances, box_weights, logits, weights = values
    for i in range(4):
        noise = box_weights[i].softmax(0) * variances[i].sigmoid()
        u_loc = noise.sum(0).mean()
        matrix = sum(
            weights[i].softmax(0)[j] *
            (torch.diag(p) - torch.outer(p, p))
            for j, p in enumerate(logits[i].softmax(-1)))
        u_r = matrix[label[i], label[i]]
        torch.testing.assert_close(got[i], (1 - u_loc) / (1 + u_r)**alpha)


def test_variances_of_the_classes_do_not_change_it():
    values = raw()
    box, plain = mixtures(values)
    full = ClassMixture.from_raw(values[3], torch.ones(4, 3, 5), values[4])
    label = torch.tensor([0, 4, 2, 1])
    assert torch.equal(
        uncertainty_weight(box, full, label),
        uncertainty_weight(box, plain, label))


def test_carries_a_gradient_only_if_asked():
    values = [v.requires_grad_() for v in raw(n=2)]
    label = torch.tensor([4, 0])
    assert not uncertainty_weight(*mixtures(values), label).requires_grad

    def factor(*values):
        return uncertainty_weight(*mixtures(values), label, detach=False)

    used = [values[1], values[2], values[3], values[4]]
    assert torch.autograd.gradcheck(
        lambda *rest: factor(values[0].detach(), *rest), used)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 4), st.integers(1, 3), st.integers(1, 4),
    st.sampled_from([0., 1., 1e4]), st.integers(0, 99),
    st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_is_a_finite_factor_between_0_and_1(n, k, c, scale, seed, dtype):
    values = [
        v.to(dtype).requires_grad_() for v in raw(n, k, c, scale, seed)
    ]
    factor = uncertainty_weight(
        *mixtures(values), torch.arange(n) % c, detach=False)
    assert factor.shape == (n, )
    assert ((factor >= 0) & (factor <= 1)).all()
    grads = torch.autograd.grad(factor.sum(), values[1:])
    assert all(g.isfinite().all() for g in grads)

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.layers import GaussianMixture
from mmal.models.losses import MixtureNLLLoss, mixture_nll
from mmal.registry import MODELS

EXTREME = [-6e4, -1e4, -90., -1., 0., 0.5, 88., 1e4, 6e4]


def raw(n=3, k=2, d=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(n, k, d, generator=generator, dtype=torch.float64)
        for _ in range(3)
    ]


def targets(n=3, d=4):
    return torch.linspace(-3, 3, n * d, dtype=torch.float64).view(n, d)


def by_hand(means, variance_logits, weight_logits, x, eps, form):
    """One element of the loss, in plain floats."""
    total = sum(math.exp(w) for w in weight_logits)
    density = 0.
    for mean, logit, w in zip(means, variance_logits, weight_logits):
        s = 1 / (1 + math.exp(-logit))
        scale, normaliser = math.sqrt(s), math.sqrt(s)
        if form == 'reference':
            scale, normaliser = s, s + 0.3
        density += math.exp(w) / total * math.exp(
            -((x - mean) / scale)**2 / 2) / (
                normaliser * math.sqrt(2 * math.pi))
    return -math.log(density + eps) * (0.5 if form == 'reference' else 1)


@pytest.mark.parametrize('form', ['exact', 'paper', 'reference'])
@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('eps', [1e-9, 0.1])
def test_equals_loops_over_rows_and_coordinates(form, k, eps):
    values, x = raw(k=k), targets()
    loss = mixture_nll(GaussianMixture.from_raw(*values), x, eps, form)
    for i in range(3):
        for d in range(4):
            means, logits, weights = (v[i, :, d].tolist() for v in values)
            expected = by_hand(means, logits, weights, float(x[i, d]), eps,
                               form)
            assert float(loss[i, d]) == pytest.approx(expected, rel=1e-9)


def test_no_eps_is_the_plain_likelihood():
    mixture, x = GaussianMixture.from_raw(*raw()), targets()
    torch.testing.assert_close(
        mixture_nll(mixture, x), -mixture.log_prob(x))


def test_the_forms_differ_in_their_eps():
    mixture, x = GaussianMixture.from_raw(*raw(n=1)), torch.full((1, 4), 99.)
    far = -mixture.log_prob(x)
    assert far.gt(100).all()
    assert torch.equal(mixture_nll(mixture, x), far)
    torch.testing.assert_close(
        mixture_nll(mixture, x, form='paper'),
        torch.full_like(far, 9 * math.log(10)))


@pytest.mark.parametrize('beta', [0.5, 1.])
@pytest.mark.parametrize('k', [1, 3])
def test_beta_weighs_by_the_variance_without_a_gradient(k, beta):
    values = [v.requires_grad_() for v in raw(k=k)]
    mixture, x = GaussianMixture.from_raw(*values), targets()
    weights = mixture.weights
    mean = (weights * mixture.means).sum(1, keepdim=True)
    variance = (weights * (
        mixture.variances + (mixture.means - mean)**2)).sum(1).detach()
    expected = -mixture.log_prob(x) * variance**beta
    found = mixture_nll(mixture, x, beta=beta)
    torch.testing.assert_close(found, expected)
    for a, b in zip(*(torch.autograd.grad(loss.sum(), values,
                                          retain_graph=True)
                      for loss in (found, expected))):
        torch.testing.assert_close(a, b)
    if k == 1 and beta == 1:  # the means learn from squared errors
        grad, = torch.autograd.grad(
            mixture_nll(GaussianMixture.from_raw(*values), x, beta=1.).sum(),
            values[0])
        torch.testing.assert_close(grad[:, 0], values[0][:, 0] - x)
    module = MixtureNLLLoss(beta=beta, reduction='none')
    assert torch.equal(module(GaussianMixture.from_raw(*values), x), found)


def test_a_hopeless_box_costs_what_eps_allows():
    mixture = GaussianMixture.from_raw(*raw(n=1))
    loss = mixture_nll(mixture, torch.full((1, 4), 1e6), eps=1e-9)
    torch.testing.assert_close(loss, torch.full_like(loss, 9 * math.log(10)))


def test_eps_may_be_smaller_than_any_float32():
    values = [v.float() for v in raw(n=1)]
    loss = mixture_nll(
        GaussianMixture.from_raw(*values), torch.full((1, 4), 1e6), eps=1e-60)
    torch.testing.assert_close(
        loss, torch.full_like(loss, 60 * math.log(10)))


@pytest.mark.parametrize('form', ['exact', 'paper', 'reference'])
@pytest.mark.parametrize('eps', [0, 1e-9])
def test_far_targets_of_sure_components_have_two_finite_derivatives(
        form, eps):
    means, _, weights = raw(n=1)
    values = [
        v.float().requires_grad_()
        for v in (means, torch.full_like(means, -16), weights)
    ]
    mixture = GaussianMixture.from_raw(*values)
    loss = mixture_nll(mixture, torch.full((1, 4), 1e38), eps, form).sum()
    grads = torch.autograd.grad(loss, values, create_graph=True)
    seconds = torch.autograd.grad(sum(g.sum() for g in grads), values)
    assert all(g.isfinite().all() for g in (loss, *grads, *seconds))


@pytest.mark.parametrize('form', ['exact', 'paper', 'reference'])
def test_first_and_second_derivatives(form):
    values = [v.requires_grad_() for v in raw(n=2)]
    x = targets(n=2)

    def loss(*values):
        return mixture_nll(GaussianMixture.from_raw(*values), x, form=form)

    assert torch.autograd.gradcheck(loss, values)
    assert torch.autograd.gradgradcheck(loss, values)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3), st.integers(1, 3),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    st.sampled_from(['exact', 'paper', 'reference']),
    st.sampled_from(['none', 'mean', 'sum']), st.data())
def test_finite_with_two_derivatives_for_extreme_logits(
        n, k, dtype, form, reduction, data):

    def draw(*shape):
        size = math.prod(shape)
        numbers = data.draw(
            st.lists(
                st.sampled_from(EXTREME), min_size=size, max_size=size))
        return torch.tensor(numbers).view(shape).to(dtype)

    values = [draw(n, k, 4).float().requires_grad_() for _ in range(3)]
    criterion = MixtureNLLLoss(form=form, reduction=reduction)
    loss = criterion(GaussianMixture.from_raw(*values), draw(n, 4))
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    grads = torch.autograd.grad(loss.sum(), values, create_graph=True)
    assert all(g.isfinite().all() for g in grads)
    seconds = torch.autograd.grad(
        sum(g.sum() for g in grads), values, allow_unused=True)
    assert all(g.isfinite().all() for g in seconds if g is not None)


def test_half_precision_outputs_get_finite_gradients():
    values = [(3e4 * v).clamp(-6e4, 6e4).half().requires_grad_()
              for v in raw(n=50)]
    x = values[0].detach().mean(dim=1)
    # without an eps those of boxes far off leave the range of float16
    loss = mixture_nll(
        GaussianMixture.from_raw(*values), x, form='paper').sum()
    assert loss.dtype == torch.float32
    for grad in torch.autograd.grad(loss, values):
        assert grad.dtype == torch.float16 and grad.isfinite().all()


def test_autocast_keeps_float32():
    conv = torch.nn.Conv2d(3, 24, 1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = conv(torch.randn(1, 3, 2, 2))
        assert out.dtype == torch.bfloat16
        values = out.permute(0, 2, 3, 1).reshape(4, 3, 2, 4).unbind(1)
        loss = MixtureNLLLoss()(GaussianMixture.from_raw(*values),
                                torch.zeros(4, 4))
    assert loss.dtype == torch.float32 and loss.isfinite()
    exact = mixture_nll(
        GaussianMixture.from_raw(*(v.float() for v in values)),
        torch.zeros(4, 4)).mean()
    torch.testing.assert_close(loss, exact)
    loss.backward()
    assert conv.weight.grad.isfinite().all()


def test_weights_and_reductions():
    pred, x = GaussianMixture.from_raw(*raw()), targets()
    plain = mixture_nll(pred, x)
    criterion = MODELS.build(
        dict(type='mmal.MixtureNLLLoss', loss_weight=2.))
    weight = torch.tensor([[1.], [0.], [3.]]).double()
    assert torch.equal(criterion(pred, x), 2 * plain.mean())
    assert torch.equal(
        criterion(pred, x, weight, reduction_override='none'),
        2 * plain * weight)
    full = weight.expand(3, 4)
    torch.testing.assert_close(
        criterion(pred, x, full, avg_factor=5.),
        2 * (plain * weight).sum() / 5,
        rtol=1e-6,
        atol=0)
    torch.testing.assert_close(
        criterion(pred, x, full, reduction_override='sum'),
        2 * (plain * weight).sum())


def test_the_module_passes_eps_and_form_on():
    pred, x = GaussianMixture.from_raw(*raw()), targets()
    criterion = MixtureNLLLoss(eps=0.1, form='reference', reduction='none')
    assert torch.equal(
        criterion(pred, x), mixture_nll(pred, x, 0.1, 'reference'))


@pytest.mark.parametrize('avg_factor', [None, 0])
def test_no_rows_give_zero_with_a_gradient(avg_factor):
    values = [v.requires_grad_() for v in raw(n=0)]
    loss = MixtureNLLLoss()(
        GaussianMixture.from_raw(*values),
        torch.zeros(0, 4),
        avg_factor=avg_factor)
    assert loss.item() == 0
    loss.backward()
    assert values[0].grad.shape == (0, 2, 4)


@pytest.mark.parametrize('options, message', [
    (dict(form='papre'), "form is 'papre', must be one of exact, paper"),
    (dict(reduction='avg'), "reduction is 'avg'"),
    (dict(eps=-1.), 'eps is -1.0'),
    (dict(beta=1.5), r'beta is 1.5, must be in \[0, 1\]'),
])
def test_refuses_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureNLLLoss(**options)


def test_refuses_targets_and_weights_that_do_not_fit():
    pred = GaussianMixture.from_raw(*raw(n=4))
    with pytest.raises(ValueError, match=r'targets of shape \(3, 4\)'):
        mixture_nll(pred, targets(3))
    with pytest.raises(ValueError, match=r'weights of shape \(4,\)'):
        MixtureNLLLoss()(pred, targets(4), torch.ones(4))

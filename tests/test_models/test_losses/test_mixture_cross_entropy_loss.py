import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.layers import ClassMixture
from mmal.models.losses import MixtureCrossEntropyLoss, mixture_cross_entropy
from mmal.registry import MODELS

EXTREME = [-6e4, -1e4, -90., -1., 0., 0.5, 88., 1e4, 6e4]


def raw(n=4, k=3, c=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((n, k, c), (n, k, c), (n, k))
    ]


def by_hand(logits, std, weight_logits, label, noise):
    """One row of the loss, in plain floats."""
    total = sum(math.exp(w) for w in weight_logits)
    loss = 0.
    for mean, s, w, g in zip(logits, std, weight_logits, noise):
        drawn = [m + a * b for m, a, b in zip(mean, s, g)]
        normaliser = math.log(sum(math.exp(x) for x in drawn))
        loss -= math.exp(w) / total * (drawn[label] - normaliser)
    return loss


@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('noisy', [False, True])
def test_equals_loops_over_rows_components_and_classes(k, noisy):
    values = raw(k=k)
    label = torch.tensor([0, 4, 2, 2])
    noise = torch.randn(4, k, 5).double() if noisy else None
    loss = mixture_cross_entropy(
        ClassMixture.from_raw(*values), label, noise)
    drawn = torch.zeros(4, k, 5) if noise is None else noise
    std = values[1].sigmoid().sqrt()
    for i in range(4):
        expected = by_hand(values[0][i].tolist(), std[i].tolist(),
                           values[2][i].tolist(), int(label[i]),
                           drawn[i].tolist())
        assert float(loss[i]) == pytest.approx(expected, rel=1e-9)


def test_one_component_is_cross_entropy():
    logits, _, weights = raw(k=1)
    label = torch.tensor([0, 1, 2, 4])
    torch.testing.assert_close(
        mixture_cross_entropy(
            ClassMixture.from_raw(logits, None, weights), label),
        F.cross_entropy(logits[:, 0], label, reduction='none'))


def test_noise_of_training_has_the_expected_loss_of_eq_5():
    """Two classes: the logit gap is Gaussian, so quadrature is exact."""
    logits = torch.tensor([[[1., -.5], [0., 2.]]], dtype=torch.float64)
    variance_logits = torch.tensor([[[2., 1.], [0., 3.]]]).double()
    mixture = ClassMixture.from_raw(logits, variance_logits,
                                    torch.tensor([[0.3, -0.2]]).double())
    gap = logits[0, :, 1] - logits[0, :, 0]
    std = mixture.variances[0].sum(-1).sqrt()
    z = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    density = (-z**2 / 2).exp() / math.sqrt(2 * math.pi)
    ce = F.softplus(gap[:, None] + std[:, None] * z)
    expected = (mixture.weights[0] * torch.trapezoid(ce * density, z)).sum()

    rows = 100_000
    many = mixture[torch.zeros(rows, dtype=torch.long)]
    criterion = MixtureCrossEntropyLoss()
    torch.manual_seed(0)
    drawn = criterion(many, torch.zeros(rows, dtype=torch.long))
    assert float(drawn) == pytest.approx(float(expected), abs=0.01)
    criterion.eval()
    still = criterion(many, torch.zeros(rows, dtype=torch.long))
    assert abs(float(still - expected)) > 0.05


def test_noise_only_in_training_and_only_with_variances():
    logits, variances, weights = raw()
    label = torch.tensor([0, 1, 2, 4])
    full = ClassMixture.from_raw(logits, variances, weights)
    plain = ClassMixture.from_raw(logits, None, weights)
    criterion = MixtureCrossEntropyLoss(reduction='none')
    silent = mixture_cross_entropy(full, label)
    assert not torch.isclose(criterion(full, label), silent).any()
    assert torch.equal(criterion(plain, label), silent)
    assert torch.equal(criterion.eval()(full, label), silent)


def test_noise_repeats_with_the_seed():
    mixture, label = ClassMixture.from_raw(*raw()), torch.tensor([0, 1, 2, 4])
    criterion = MixtureCrossEntropyLoss()
    torch.manual_seed(7)
    first, second = criterion(mixture, label), criterion(mixture, label)
    torch.manual_seed(7)
    assert torch.equal(criterion(mixture, label), first)
    assert not torch.equal(first, second)


def test_first_and_second_derivatives():
    values = [v.requires_grad_() for v in raw(n=2)]
    noise = torch.randn(2, 3, 5).double()
    label = torch.tensor([4, 0])

    def loss(*values):
        mixture = ClassMixture.from_raw(*values)
        return mixture_cross_entropy(mixture, label, noise)

    assert torch.autograd.gradcheck(loss, values)
    assert torch.autograd.gradgradcheck(loss, values)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 3), st.integers(1, 3), st.integers(1, 4),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    st.booleans(), st.sampled_from(['none', 'mean', 'sum']), st.data())
def test_finite_with_two_derivatives_for_extreme_logits(
        n, k, c, dtype, efficient, reduction, data):

    def draw(*shape):
        size = math.prod(shape)
        numbers = data.draw(
            st.lists(
                st.sampled_from(EXTREME), min_size=size, max_size=size))
        rounded = torch.tensor(numbers).view(shape).to(dtype)
        return rounded.float().requires_grad_()

    values = [draw(n, k, c), draw(n, k, c), draw(n, k)]
    mixture = ClassMixture.from_raw(
        values[0], None if efficient else values[1], values[2])
    label = torch.arange(n) % c
    loss = MixtureCrossEntropyLoss(reduction=reduction)(mixture, label)
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    grads = torch.autograd.grad(
        loss.sum(), values, create_graph=True, allow_unused=True)
    used = [g for g in grads if g is not None]
    assert len(used) == (2 if efficient else 3)
    seconds = torch.autograd.grad(
        sum(g.sum() for g in used), values, allow_unused=True)
    used += [g for g in seconds if g is not None]
    assert all(g.isfinite().all() for g in used)


def test_autocast_keeps_float32():
    linear = torch.nn.Linear(6, 22)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = linear(torch.randn(8, 6))
        assert out.dtype == torch.bfloat16
        logits, variances = out[:, :20].reshape(8, 2, 2, 5).unbind(1)
        mixture = ClassMixture.from_raw(logits, variances, out[:, 20:])
        loss = MixtureCrossEntropyLoss()(mixture, torch.arange(8) % 5)
    assert loss.dtype == torch.float32 and loss.isfinite()
    loss.backward()
    assert linear.weight.grad.isfinite().all()


def test_weights_and_reductions():
    pred = ClassMixture.from_raw(*raw())
    label = torch.tensor([0, 1, 2, 4])
    plain = mixture_cross_entropy(pred, label)
    criterion = MODELS.build(
        dict(type='mmal.MixtureCrossEntropyLoss', loss_weight=3.)).eval()
    weight = torch.tensor([1., 0., 2., 0.5]).double()
    assert torch.equal(criterion(pred, label), 3 * plain.mean())
    assert torch.equal(
        criterion(pred, label, weight, reduction_override='none'),
        3 * plain * weight)
    torch.testing.assert_close(
        criterion(pred, label, weight, avg_factor=7),
        3 * (plain * weight).sum() / 7,
        rtol=1e-6,
        atol=0)


@pytest.mark.parametrize('avg_factor', [None, 0])
def test_no_rows_give_zero_with_a_gradient(avg_factor):
    values = [v.requires_grad_() for v in raw(n=0)]
    loss = MixtureCrossEntropyLoss()(
        ClassMixture.from_raw(*values),
        torch.zeros(0, dtype=torch.long),
        avg_factor=avg_factor)
    assert loss.item() == 0
    loss.backward()
    assert values[0].grad.shape == (0, 3, 5)


def test_refuses_what_does_not_fit():
    logits, _, weights = raw()
    pred = ClassMixture.from_raw(logits, None, weights)
    label = torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match='its variances are missing'):
        mixture_cross_entropy(pred, label, torch.randn(4, 3, 5))
    with pytest.raises(ValueError, match=r'labels of shape \(2,\)'):
        mixture_cross_entropy(pred, label[:2])
    with pytest.raises(ValueError, match="reduction is 'median'"):
        MixtureCrossEntropyLoss()(pred, label, reduction_override='median')

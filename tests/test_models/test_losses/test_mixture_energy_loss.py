"""The energy score against integrals and against many draws."""
import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from helpers.tiny_ssd import tiny_mdn_ssd
from scipy import stats
from scipy.integrate import trapezoid
from scipy.optimize import brentq

from mmal.models.layers import GaussianMixture
from mmal.models.losses import MixtureEnergyLoss, mixture_crps, mixture_energy
from mmal.models.losses.mixture_energy_loss import draw
from mmal.registry import MODELS
from mmal.scoring.detector import dummy_batch


def mixture(n=3, k=2, d=4, seed=0, dtype=torch.float64, shared=False):
    generator = torch.Generator().manual_seed(seed)
    means, variances, weights = (
        torch.randn(n, k, d, generator=generator,
                    dtype=torch.float64).to(dtype) for _ in range(3))
    if shared:
        weights = weights[..., :1]
    return GaussianMixture(means * 2, variances.exp(),
                           weights.log_softmax(1))


def targets(n=3, d=4, dtype=torch.float64):
    return torch.linspace(-3, 3, n * d, dtype=dtype).view(n, d)


def below(m, n, d, x):
    """The distribution function of a coordinate, by scipy."""
    weights = m.weights.expand_as(m.means)
    components = zip(*(p[n, :, d].tolist()
                       for p in (weights, m.means, m.variances)))
    return sum(w * stats.norm.cdf(x, mean, math.sqrt(v))
               for w, mean, v in components)


def parameters(m):
    return m.means, m.variances, m.log_weights


@pytest.mark.parametrize('k', [1, 2, 4])
@pytest.mark.parametrize('shared', [False, True])
def test_crps_is_the_integral_over_the_distribution_function(k, shared):
    m, y = mixture(k=k, shared=shared), targets()
    crps = mixture_crps(m, y)
    for n in range(3):
        for d in range(4):
            left, right = (np.linspace(end, y[n, d].item(), 10001)
                           for end in (-60, 60))
            truth = trapezoid(below(m, n, d, left)**2, left) - trapezoid(
                (1 - below(m, n, d, right))**2, right)
            assert crps[n, d].item() == pytest.approx(truth, rel=1e-4)


def test_crps_of_a_certain_box_is_its_distance():
    means, y = torch.tensor([[[3., -1e4]]]), torch.tensor([[1., 1e4]])
    sure = GaussianMixture(means, torch.full_like(means, 1e-12),
                           torch.zeros_like(means))
    torch.testing.assert_close(mixture_crps(sure, y),
                               torch.tensor([[2., 2e4]]))


def test_draws_are_distributed_as_the_mixture():
    m = mixture(k=3)
    x = draw(m, 100000, torch.Generator().manual_seed(0)).detach()
    torch.testing.assert_close(x.mean(0), m.mean, rtol=0.02, atol=0.03)
    torch.testing.assert_close(
        x.var(0), m.aleatoric + m.epistemic, rtol=0.03, atol=0.03)
    for n, d in ((0, 0), (2, 3)):
        test = stats.kstest(x[:20000, n, d].numpy(), partial(below, m, n, d))
        assert test.pvalue > 1e-3


def test_draws_move_with_every_parameter_as_expectations_do():
    """d E[x²] by means, variances and weights, known in closed form."""
    means, variances, logits = (
        p.detach().requires_grad_() for p in parameters(mixture(k=3)))

    def made():
        return GaussianMixture(means, variances, logits.log_softmax(1))

    x = draw(made(), 60000, torch.Generator().manual_seed(0))
    inputs = (means, variances, logits)
    drawn = torch.autograd.grad(x.square().mean(0).sum(), inputs)
    m = made()
    moment = (m.weights * (m.means**2 + m.variances)).sum()
    for a, b in zip(drawn, torch.autograd.grad(moment, inputs)):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


def test_two_derivatives_of_a_draw_are_those_of_its_quantile():
    """Of numbers x with F(x) = u, found by bisection, by differences."""
    values = [p.detach().requires_grad_()
              for p in parameters(mixture(n=1, k=2, d=1, seed=3))]

    def made(values):
        return GaussianMixture(*values[:2], values[2].log_softmax(1))

    x = draw(made(values), 3, torch.Generator().manual_seed(0))[:, 0, 0]
    start = torch.cat([v.detach().flatten() for v in values])
    steps = 1e-3 * torch.eye(6, dtype=start.dtype)

    def quantile(flat, level):
        m = made(flat.view(3, 1, 2, 1))
        return brentq(lambda v: below(m, 0, 0, v) - level, -50, 50,
                      xtol=1e-14, rtol=1e-14)

    for draw_ in x:
        level = float(below(made(values), 0, 0, draw_.item()))
        grads = torch.autograd.grad(draw_, values, create_graph=True)
        grads = torch.cat([g.flatten() for g in grads])
        for i in range(6):
            one, other = steps[i], steps[(i + 1) % 6]
            first = (quantile(start + one, level) -
                     quantile(start - one, level)) / 2e-3
            assert grads[i].item() == pytest.approx(first, rel=1e-4, abs=1e-5)
            rows = torch.autograd.grad(grads[i], values, retain_graph=True)
            row = torch.cat([h.flatten() for h in rows])
            second = sum(
                s * t * quantile(start + s * one + t * other, level)
                for s in (1, -1) for t in (1, -1)) / 4e-6
            assert row[(i + 1) % 6].item() == pytest.approx(
                second, rel=1e-3, abs=1e-4)


def test_of_one_dimension_the_energy_is_the_crps():
    m, y = mixture(d=1), targets(d=1)
    draws = draw(m, 200000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        mixture_energy(m, y, draws), mixture_crps(m, y)[:, 0], rtol=0.02,
        atol=0.01)


def test_energy_equals_loops_over_draws():
    m, y = mixture(), targets()
    x = draw(m, 5, torch.Generator().manual_seed(0)).detach()
    found = mixture_energy(m, y, x)
    for n in range(3):
        to_target = [math.dist(x[i, n].tolist(), y[n].tolist())
                     for i in range(5)]
        between = [math.dist(x[i, n].tolist(), x[i - 1, n].tolist())
                   for i in range(5)]
        assert found[n].item() == pytest.approx(
            np.mean(to_target) - np.mean(between) / 2)


def test_energy_of_a_whole_box_is_that_of_independent_draws():
    """By numpy's own random numbers."""
    m, y = mixture(n=1), targets(n=1)
    random = np.random.default_rng(0)
    pi, mean, std = (p[0].numpy() for p in (
        m.weights, m.means, m.variances.sqrt()))

    def boxes(count):
        chosen = [random.choice(2, count, p=pi[:, d]) for d in range(4)]
        return np.stack([random.normal(mean[c, d], std[c, d])
                         for d, c in enumerate(chosen)], 1)

    a, b = boxes(200000), boxes(200000)
    truth = np.linalg.norm(a - y[0].numpy(), axis=1).mean() - \
        np.linalg.norm(a - b, axis=1).mean() / 2
    found = mixture_energy(
        m, y, draw(m, 200000, torch.Generator().manual_seed(0)))
    assert found.item() == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize('samples', [0, 50])
def test_it_is_least_where_the_boxes_come_from(samples):
    """Proper: each change of the truth costs."""
    true = GaussianMixture(torch.tensor([[[-1.], [2.]]]),
                           torch.tensor([[[0.5], [1.]]]),
                           torch.tensor([[[0.3], [0.7]]]).log())
    y = draw(true, 5000, torch.Generator().manual_seed(1))[:, 0]
    loss = MixtureEnergyLoss(samples).eval()

    def mean_loss(shift=0., factor=1., weight=0.3):
        return loss(GaussianMixture(
            (true.means + shift).expand(len(y), 2, 1),
            (true.variances * factor).expand(len(y), 2, 1),
            torch.tensor([[weight], [1 - weight]]).log().expand(
                len(y), 2, 1)), y)

    best = mean_loss()
    for change in (dict(shift=0.5), dict(shift=-0.5), dict(factor=4.),
                   dict(factor=0.1), dict(weight=0.6), dict(weight=0.1)):
        assert mean_loss(**change) > best


@pytest.mark.parametrize('shared', [False, True])
def test_derivatives_of_the_closed_form(shared):
    inputs = [p.detach().requires_grad_()
              for p in (*parameters(mixture(shared=shared)), targets())]

    def crps(means, variances, logits, y):
        return mixture_crps(
            GaussianMixture(means, variances, logits.log_softmax(1)), y)

    assert torch.autograd.gradcheck(crps, inputs)
    assert torch.autograd.gradgradcheck(crps, inputs)


def test_derivatives_of_the_drawn_score_are_those_of_its_expectation():
    """Against the closed form, in one dimension."""
    inputs = [p.detach().requires_grad_()
              for p in parameters(mixture(d=1, k=3))]
    y = targets(d=1)

    def made():
        means, variances, logits = inputs
        return GaussianMixture(means, variances, logits.log_softmax(1))

    drawn = torch.autograd.grad(
        mixture_energy(made(), y, draw(
            made(), 200000, torch.Generator().manual_seed(0))).sum(), inputs)
    truth = torch.autograd.grad(mixture_crps(made(), y).sum(), inputs)
    for a, b in zip(drawn, truth):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.01)


@pytest.mark.parametrize('samples', [0, 8])
@pytest.mark.parametrize('value', [6.5e4, -6.5e4, 0.])
@pytest.mark.parametrize('variance', [1e-7, 1., 6.5e4])
def test_extreme_boxes_have_finite_gradients(samples, value, variance):
    raw = [torch.full((2, 3, 4), v, requires_grad=True)
           for v in (value, variance, 0.)]
    means, variances, logits = raw
    loss = MixtureEnergyLoss(samples)(
        GaussianMixture(means, variances, logits.log_softmax(1)),
        torch.zeros(2, 4))
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in raw)


def test_weights_and_reductions():
    m, y = mixture(), targets()
    each = mixture_crps(m, y)
    weight = torch.rand(3, 4, dtype=torch.float64)
    loss = MODELS.build(dict(type='mmal.MixtureEnergyLoss', loss_weight=2.0))
    torch.testing.assert_close(loss(m, y), 2 * each.mean())
    torch.testing.assert_close(
        loss(m, y, weight, avg_factor=5.0), 2 * (each * weight).sum() / 5)
    torch.testing.assert_close(
        loss(m, y, reduction_override='none'), 2 * each)
    whole = MixtureEnergyLoss(16, reduction='none').eval()
    shares = whole(m, y)
    draws = draw(m, 16, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shares.sum(1), mixture_energy(m, y, draws))
    assert (shares == shares[:, :1]).all()


def test_draws_differ_in_training_alone():
    m, y = mixture(), targets()
    loss = MixtureEnergyLoss(4)
    assert loss(m, y) != loss(m, y)
    before = torch.get_rng_state()
    loss.eval()
    assert loss(m, y) == loss(m, y)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize('samples', [0, 4])
def test_no_rows_give_zero_with_a_gradient(samples):
    means = torch.zeros(0, 2, 4, requires_grad=True)
    loss = MixtureEnergyLoss(samples)(
        GaussianMixture(means, torch.ones(0, 2, 4), torch.zeros(0, 2, 4)),
        torch.zeros(0, 4))
    loss.backward()
    assert loss == 0 and means.grad.shape == (0, 2, 4)


@pytest.mark.parametrize('samples', [1, -1, 2.5])
def test_refuses_too_few_draws(samples):
    with pytest.raises(ValueError, match=f'samples is {samples}'):
        MixtureEnergyLoss(samples)


def test_refuses_targets_that_do_not_fit():
    with pytest.raises(ValueError, match='got targets of shape'):
        mixture_crps(mixture(), targets(n=2))


@pytest.mark.parametrize('samples', [0, 8])
@pytest.mark.parametrize('build, name', [
    (tiny_mdn_fcos, 'loss_nll'), (tiny_mdn_ssd, 'loss_bbox')])
def test_heads_take_it(build, name, samples):
    loss = dict(type='mmal.MixtureEnergyLoss', samples=samples)
    model = build(**{name: loss}).train()
    part = dummy_batch(model)
    losses = model.loss(part.inputs, part.samples)
    assert losses[name] > 0
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is None or p.grad.isfinite().all()
               for p in model.bbox_head.parameters())

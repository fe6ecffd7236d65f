"""Extras of mixtures against sums over components in double precision."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.layers.mixture_extras import (
    BoxExtras,
    ClassExtras,
    mixed_logit,
)


def randn(*shape, seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator,
                               dtype=torch.float64).to(dtype)


def truth(z, d, log_weights):
    """In numpy: log sum pi sigmoid(z + d) - log sum pi sigmoid(-z - d)."""
    each, weights = (z[:, None] + d), np.exp(log_weights)
    yes = (weights / (1 + np.exp(-each))).sum(1)
    no = (weights / (1 + np.exp(each))).sum(1)
    return np.log(yes) - np.log(no)


@pytest.mark.parametrize('scale', [0.1, 3.0, 20.0])
@pytest.mark.parametrize('dtype, rtol', [
    (torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_the_logit_is_that_of_the_mixed_probability(scale, dtype, rtol):
    z = randn(200, 3, scale=scale, dtype=dtype)
    d = randn(200, 4, 3, seed=1, scale=scale, dtype=dtype)
    w = randn(200, 4, 1, seed=2, dtype=dtype).log_softmax(1)
    expected = truth(*(x.double().numpy() for x in (z, d, w)))
    np.testing.assert_allclose(
        mixed_logit(z, d, w).double().numpy(), expected, rtol, rtol)


def test_the_dimension_of_the_components_is_free():
    z, d = randn(2, 5, 6), randn(2, 3, 5, 6, seed=1)
    w = randn(2, 3, 5, 6, seed=2).log_softmax(1)
    first = mixed_logit(z, d, w, dim=1)
    last = mixed_logit(z, d.movedim(1, -1), w.movedim(1, -1), dim=-1)
    assert torch.equal(first, last)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), k=st.integers(1, 5),
       scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 6e4]))
def test_equal_components_change_no_bit_of_logit_or_gradient(seed, k, scale):
    z = randn(64, seed=seed, scale=scale, dtype=torch.float32)
    z[0] = 0
    weights = randn(k, 64, seed=seed + 1, dtype=torch.float32).log_softmax(0)
    upstream = randn(64, seed=seed + 2, dtype=torch.float32)
    d = torch.zeros(k, 64)
    for x in (z, d, weights):
        x.requires_grad_()
    logit = mixed_logit(z, d, weights)
    logit.backward(upstream)
    assert torch.equal(logit, z) and torch.equal(z.grad, upstream)
    assert not weights.grad.isnan().any() and d.grad.isfinite().all()


def test_derivatives():
    z, d = randn(6, scale=2.0), randn(3, 6, seed=1, scale=2.0)
    z[0] = 0
    weights = randn(3, 6, seed=2)

    def logit(z, d, weights):
        return mixed_logit(z, d, weights.log_softmax(0))

    inputs = [x.requires_grad_() for x in (z, d, weights)]
    assert torch.autograd.gradcheck(logit, inputs)
    assert torch.autograd.gradgradcheck(logit, inputs)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([-6.5e4, -200., -88., 0., 1., 88., 6.5e4]),
                min_size=4, max_size=4))
def test_extreme_numbers_stay_finite(values):
    z, *d = (torch.tensor([v], requires_grad=True) for v in values)
    weights = torch.tensor([[0.], [6.5e4], [-6.5e4]], requires_grad=True)
    logit = mixed_logit(z, torch.stack(d), weights.log_softmax(0))
    logit.sum().backward()
    assert logit.isfinite().all()
    assert all(x.grad.isfinite().all() for x in (z, *d, weights))


@pytest.mark.parametrize('anchors', [1, 2])
def test_maps_and_rows_of_classes_agree(anchors):
    extras = ClassExtras(classes=3, components=4)
    assert extras.channels == 3 * 4 + 4
    logits = randn(2, anchors * 3, 5, 6, dtype=torch.float32)
    maps = randn(2, anchors * 16, 5, 6, seed=1, dtype=torch.float32)
    mixed = extras.logit_map(logits, maps)
    for b, a, y, x in ((0, 0, 0, 0), (1, anchors - 1, 4, 2)):
        z = logits[b, 3 * a:3 * a + 3, y, x]
        raw = maps[b, 16 * a:16 * a + 16, y, x]
        d, w = raw[:12].view(3, 4), raw[12:].softmax(0)
        p = (w * (z[:, None] + d).sigmoid()).sum(1)
        for found in (mixed[b, 3 * a:3 * a + 3, y, x],
                      extras.logit(z, raw), extras.mixture(z, raw).logit):
            torch.testing.assert_close(found, p.logit(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('k', [0, 1])
def test_few_components_need_no_class_channels(k):
    extras = ClassExtras(3, k)
    z, none = randn(5, 3, dtype=torch.float32), torch.zeros(5, 0)
    assert extras.channels == 0
    assert torch.equal(extras.logit(z, none), z)
    assert torch.equal(extras.mixture(z, none).logit, z)


@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('variance', ['softplus', 'sigmoid'])
def test_a_box_is_the_mean_of_its_mixture(k, variance):
    extras = BoxExtras(k, variance)
    mean, raw = randn(7, 4), randn(7, extras.channels, seed=1)
    mixture = extras.mixture(mean, raw)
    torch.testing.assert_close(mixture.mean, mean)
    for n in range(7):
        for c in range(4):
            logit = raw[n, c * k:(c + 1) * k].numpy()
            v = np.log1p(np.exp(logit)) + 1e-4 if variance == 'softplus' \
                else 1 / (1 + np.exp(-logit))
            np.testing.assert_allclose(mixture.variances[n, :, c], v)
            if k == 1:
                continue
            d = raw[n, 4 * k + c * k:4 * k + (c + 1) * k].numpy()
            w = np.exp(raw[n, 8 * k + c * k:8 * k + (c + 1) * k].numpy())
            w = w / w.sum()
            np.testing.assert_allclose(mixture.weights[n, :, c], w)
            np.testing.assert_allclose(
                mixture.means[n, :, c], mean[n, c] + d - (w * d).sum())


def test_no_components_are_no_mixture():
    assert BoxExtras(0).channels == 0
    assert BoxExtras(0).mixture(torch.zeros(2, 4), torch.zeros(2, 0)) is None


@pytest.mark.parametrize('make, message', [
    (lambda: ClassExtras(3, -1), 'cls_components is -1'),
    (lambda: BoxExtras(1.5), 'box_components is 1.5'),
    (lambda: BoxExtras(2, 'exp'), "variance is 'exp'")])
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""BayesConv2d against drawing the weights themselves."""
import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule, build_conv_layer
from torch import nn

from mmal.models.layers import BayesConv2d
from mmal.models.layers.bayes_conv import log_uniform_kl

CONVS = st.fixed_dictionaries(
    dict(
        kernel_size=st.sampled_from([1, 3, (1, 3), 2]),
        stride=st.sampled_from([1, 2, (2, 1)]),
        padding=st.sampled_from([0, 1, (1, 2)]),
        padding_mode=st.sampled_from(
            ['zeros', 'reflect', 'replicate', 'circular']),
        dilation=st.sampled_from([1, 2]),
        groups=st.sampled_from([1, 2]),
        bias=st.booleans(),
        scale=st.sampled_from([0., 0.1, 2.])))
VARIED = dict(
    kernel_size=3, stride=2, padding=1, padding_mode='reflect', groups=2)


def double_conv(seed=0, **kwargs):
    torch.manual_seed(seed)
    return BayesConv2d(4, 2, **kwargs).double(), torch.randn(
        2, 4, 6, 7, dtype=torch.float64)


@settings(deadline=None, max_examples=40)
@given(CONVS, st.integers(0, 9))
def test_moments_are_those_of_normal_weights(kwargs, seed):
    """The output is linear in w, so its variance is sum (dy/dw)² λw²."""
    conv, x = double_conv(seed, **kwargs)
    mean, std = conv.moments(x)
    slopes = torch.autograd.functional.jacobian(
        lambda w: conv._conv_forward(x, w, None), conv.weight)
    variance = (slopes * conv.weight).square().flatten(-4).sum(dim=-1)
    torch.testing.assert_close(std, (kwargs['scale'] * variance).sqrt())
    plain = nn.Conv2d(4, 2, **{
        key: value
        for key, value in kwargs.items() if key != 'scale'
    }).double()
    plain.load_state_dict(conv.state_dict())
    assert torch.equal(mean, plain(x))
    assert torch.equal(mean, conv.eval()(x))


@pytest.mark.parametrize('learn_scale', [False, True])
@pytest.mark.parametrize('kwargs', [
    VARIED,
    dict(kernel_size=1, bias=False),
    dict(kernel_size=2, dilation=2, padding=2, padding_mode='circular'),
])
@torch.no_grad()
def test_moments_are_those_of_drawn_weights(kwargs, learn_scale):
    conv, x = double_conv(scale=0.3, learn_scale=learn_scale, **kwargs)
    kernel, draws = conv.weight, 4000
    outputs = torch.stack([
        conv._conv_forward(
            x, kernel + 0.3**0.5 * kernel.abs() * torch.randn_like(kernel),
            conv.bias) for _ in range(draws)
    ])
    mean, std = conv.moments(x)
    # five standard errors of a mean and of a standard deviation
    error = 5 * std / math.sqrt(draws)
    assert ((outputs.mean(dim=0) - mean).abs() <= error).all()
    assert ((outputs.std(dim=0) - std).abs() <= error / math.sqrt(2)).all()


@pytest.mark.parametrize('samples', [1, 4, 25])
@torch.no_grad()
def test_the_variance_of_the_output_falls_as_one_over_k(samples):
    conv, x = double_conv(scale=0.3, samples=samples, **VARIED)
    mean, std = conv.moments(x)
    draws = torch.stack([conv(x) for _ in range(2000)])
    scaled = (draws - mean) / std * math.sqrt(samples)
    assert scaled.mean().abs() < 5 / math.sqrt(scaled.numel())
    assert scaled.square().mean() == pytest.approx(1, abs=0.02)
    # elements are drawn one by one
    first = scaled.flatten(1)[:, :2]
    assert (first[:, 0] * first[:, 1]).mean().abs() < 5 / math.sqrt(2000)


def test_draws_follow_the_seed():
    conv, x = double_conv(**VARIED)
    torch.manual_seed(3)
    first, second = conv(x), conv(x)
    torch.manual_seed(3)
    assert torch.equal(conv(x), first)
    assert not torch.equal(first, second)


def test_evaluation_draws_nothing():
    conv, x = double_conv(**VARIED)
    state = torch.get_rng_state()
    conv.eval()(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients():
    conv, x = double_conv(scale=0.3, learn_scale=True, **VARIED)

    def std(x, weight, log_scale):
        parts = dict(weight=weight, log_scale=log_scale, bias=conv.bias)
        return torch.func.functional_call(_Std(conv), {
            f'conv.{key}': value
            for key, value in parts.items()
        }, x)

    inputs = (x[:1].requires_grad_(), conv.weight, conv.log_scale)
    assert torch.autograd.gradcheck(std, inputs)


class _Std(nn.Module):

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv.moments(x)[1]


@pytest.mark.parametrize('value', [0., 1e-30, 1e18, -1e18])
def test_gradients_are_finite_for_any_size_of_input(value):
    conv = BayesConv2d(2, 2, 3, padding=1, learn_scale=True)
    x = torch.full((1, 2, 4, 4), value, requires_grad=True)
    mean, std = conv.moments(x)
    (mean.sum() + std.sum()).backward()
    assert (std >= 0).all() and std.isfinite().all()
    for gradient in (x.grad, conv.weight.grad, conv.log_scale.grad):
        assert gradient.isfinite().all()


def test_a_kernel_of_zero_has_a_finite_gradient():
    conv = BayesConv2d(1, 1, 1)
    nn.init.zeros_(conv.weight)
    conv(torch.ones(1, 1, 2, 2)).sum().backward()
    assert conv.weight.grad.tolist() == [[[[4.]]]]


def test_float16_keeps_the_std_of_float32():
    conv = BayesConv2d(3, 2, 3).half()
    # squares of 1000 overflow, squares of the kernel underflow
    x = torch.full((1, 3, 5, 5), 1000.).half()
    with torch.no_grad():
        conv.weight /= 1000
    mean, std = conv.moments(x)
    expected = copy.deepcopy(conv).float().moments(x.float())[1]
    assert mean.dtype == conv(x).dtype == torch.float16
    torch.testing.assert_close(std, expected)
    assert (std > 0).all()


def test_autocast_keeps_the_std_of_float32():
    conv, x = BayesConv2d(3, 2, 3), torch.randn(1, 3, 5, 5)
    expected = conv.moments(x)[1]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mean, std = conv.moments(x)
        assert mean.dtype == conv(x).dtype == torch.bfloat16
    torch.testing.assert_close(std, expected, rtol=0, atol=0)


def test_the_learned_scale_follows_its_gradient():
    conv = BayesConv2d(1, 1, 1, scale=0.5, learn_scale=True)
    std = conv.moments(torch.ones(1, 1, 1, 1))[1]
    std.sum().backward()
    # σ = exp(log λ / 2)|k|
    torch.testing.assert_close(
        conv.log_scale.grad, std.detach().squeeze() / 2)
    assert std.item() == pytest.approx(
        0.5**0.5 * conv.weight.abs().item())
    assert conv.scale.item() == pytest.approx(0.5)
    assert BayesConv2d(1, 1, 1, scale=0.5).scale == 0.5


def test_a_fixed_scale_adds_nothing_to_the_weights():
    plain = nn.Conv2d(1, 1, 1).state_dict()
    assert BayesConv2d(1, 1, 1).state_dict().keys() == plain.keys()
    learned = BayesConv2d(1, 1, 1, learn_scale=True).state_dict()
    assert learned.keys() == plain.keys() | {'log_scale'}


def test_an_empty_batch():
    conv = BayesConv2d(2, 3, 3)
    assert conv(torch.zeros(0, 2, 5, 5)).shape == (0, 3, 3, 3)


def test_is_a_conv_layer_of_configs():
    cfg = dict(type='mmal.BayesConv2d', scale=0.2, samples=3)
    conv = build_conv_layer(cfg, 2, 4, 3, padding=1)
    assert isinstance(conv, BayesConv2d) and conv.samples == 3
    module = ConvModule(
        2, 4, 3, conv_cfg=cfg, norm_cfg=dict(type='BN')).train()
    assert module(torch.randn(2, 2, 5, 5)).shape == (2, 4, 3, 3)
    assert 'scale=0.2' in repr(module)


@pytest.mark.parametrize('kwargs', [
    dict(scale=-0.1),
    dict(scale=math.inf),
    dict(scale=math.nan),
    dict(scale=0., learn_scale=True),
    dict(samples=0),
    dict(samples=1.5),
])
def test_refuses(kwargs):
    with pytest.raises(ValueError, match=r'BayesConv2d\.(scale|samples) is'):
        BayesConv2d(1, 1, 1, **kwargs)


@pytest.mark.parametrize('scale', [0.01, 0.1, 0.5, 1., 3., 30.])
def test_log_uniform_kl_is_the_divergence(scale):
    """E log(q / p) by quadrature, with the constant of the limit.

    Of w = k(1 + sqrt(λ) ε) it is E log|1 + sqrt(λ) ε| - log(λ) / 2 - h(ε),
    where h is the entropy of ε; for large λ it tends to E log|ε| - h(ε).
    """
    grid = np.linspace(-12, 12, 4_000_001)
    density = np.exp(-grid**2 / 2) / np.sqrt(2 * np.pi)
    step = grid[1] - grid[0]

    def log_mean(values):
        # the logarithm's pole can be integrated; no point lies on it
        return (np.log(np.abs(values)) * density).sum() * step

    shift = step / np.pi
    divergence = log_mean(1 + np.sqrt(scale) * (grid + shift)) - np.log(
        scale) / 2
    limit = log_mean(grid + shift)
    found = log_uniform_kl(torch.tensor(scale, dtype=torch.float64))
    assert found.item() == pytest.approx(divergence - limit, abs=0.01)

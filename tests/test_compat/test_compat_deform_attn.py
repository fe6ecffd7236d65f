"""Deformable attention against a loop over every point, and gradcheck."""
import math

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

from mmal.compat.deform_attn import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)

SHAPES = [(3, 5), (2, 2), (1, 4)]


def problem(dtype=torch.float64, batch=2, queries=3, heads=2, dim=4, points=3):
    """Points inside the maps, at their borders and outside."""
    generator = torch.Generator().manual_seed(0)
    pixels = sum(h * w for h, w in SHAPES)
    shapes = torch.tensor(SHAPES)
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    value = torch.randn(batch, pixels, heads, dim, generator=generator)
    locations = 1.6 * torch.rand(
        batch, queries, heads, len(SHAPES), points, 2,
        generator=generator) - .3
    weights = torch.rand(locations.shape[:-1], generator=generator)
    return (value.to(dtype), shapes, starts, locations.to(dtype),
            weights.to(dtype))


def one_by_one(value, shapes, starts, locations, weights):
    """Equation 3 of Deformable DETR with its bilinear interpolation."""
    batch, queries, heads, levels, points, _ = locations.shape
    out = value.new_zeros(batch, queries, heads, value.shape[-1])
    for b, q, m, k, p in torch.cartesian_prod(*map(
            torch.arange, (batch, queries, heads, levels, points))).tolist():
        height, width = shapes[k].tolist()
        pixels = value[b, starts[k]:starts[k] + height * width, m].view(
            height, width, -1)
        # the centre of the first pixel is half a pixel inside
        x, y = (locations[b, q, m, k, p] * torch.tensor([width, height]) -
                .5).tolist()
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    out[b, q, m] += weights[
                        b, q, m, k, p] * share * pixels[row, column]
    return out.flatten(2)


def test_equals_a_loop():
    arguments = problem()
    found = ms_deform_attn_forward(*arguments, im2col_step=64)
    torch.testing.assert_close(found, one_by_one(*arguments))


def test_gradients(monkeypatch):
    from mmcv.ops import multi_scale_deform_attn
    for function in (ms_deform_attn_forward, ms_deform_attn_backward):
        # by the calls of mmcv, whether or not it has operators of its own
        monkeypatch.setattr(multi_scale_deform_attn.ext_module,
                            function.__name__, function)
    value, shapes, starts, locations, weights = problem(batch=1, queries=2)

    def attend(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, shapes, starts, locations, weights, 64)

    inputs = [t.requires_grad_() for t in (value, locations, weights)]
    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16,
                                   torch.bfloat16])
def test_other_types(dtype):
    arguments = problem(dtype)
    found = ms_deform_attn_forward(*arguments, im2col_step=64)
    exact = one_by_one(*(a.double() if a.is_floating_point() else a
                         for a in arguments))
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else .1
    torch.testing.assert_close(found.double(), exact, rtol=tolerance,
                               atol=tolerance)

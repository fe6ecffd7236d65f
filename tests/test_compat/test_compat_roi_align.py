"""RoIAlign against loops over boxes, channels, bins and samples."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import roi_align

from mmal.compat import roi_align as roi_align_module
from mmal.compat.roi_align import roi_align_backward, roi_align_forward

MODES = ('max', 'avg')


def bilinear(plane, y, x):
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    return ((1 - dy) * (1 - dx) * plane[top, left] +
            (1 - dy) * dx * plane[top, right] +
            dy * (1 - dx) * plane[bottom, left] +
            dy * dx * plane[bottom, right])


def samples_of_bin(roi, size, scale, ratio, aligned, row, column):
    shift = 0.5 if aligned else 0.
    x1, y1, x2, y2 = (value * scale - shift for value in roi[1:])
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1.), max(width, 1.)
    step_y, step_x = height / size[0], width / size[1]
    grid_y = ratio or math.ceil(step_y)
    grid_x = ratio or math.ceil(step_x)
    return [(y1 + (row + (i + .5) / grid_y) * step_y,
             x1 + (column + (j + .5) / grid_x) * step_x)
            for i in range(grid_y) for j in range(grid_x)]


def slow_roi_align(maps, rois, size, scale, ratio, mode, aligned):
    maps, rois = maps.double().numpy(), rois.double().tolist()
    output = np.zeros((len(rois), maps.shape[1], *size))
    for n, c, row, column in np.ndindex(*output.shape):
        plane = maps[int(rois[n][0]), c]
        values = [bilinear(plane, y, x) for y, x in samples_of_bin(
            rois[n], size, scale, ratio, aligned, row, column)]
        if values:
            pooled = max(values) if mode == 'max' else np.mean(values)
            output[n, c, row, column] = pooled
    return output


def maps_and_rois(seed=0, kind=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, 9, 7, generator=generator, dtype=kind)
    rois = torch.tensor([
        [0, 1.3, 2.1, 9.7, 12.9],
        [1, -6.0, -7.1, 30.2, 33.3],  # larger than the map on all sides
        [1, 4.4, 3.3, 4.9, 3.5],  # smaller than a pixel
        [0, 60, 60, 80, 90],  # outside
        [0, 5.2, 6.1, 5.2, 6.1],  # no size
    ], dtype=kind)
    return maps, rois


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('mode', MODES)
def test_forward_equals_loops(mode, ratio, aligned):
    maps, rois = maps_and_rois()
    pooled = roi_align(maps, rois, (3, 2), 0.5, ratio, mode, aligned)
    wanted = slow_roi_align(maps, rois, (3, 2), 0.5, ratio, mode, aligned)
    np.testing.assert_allclose(pooled, wanted, atol=2e-6)
    assert (np.abs(wanted[:3]).max((1, 2, 3)) > 0).all()


corner = st.floats(-40, 60, width=32)
length = st.one_of(st.just(0.), st.floats(0, 80, width=32))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1]), corner, corner, length,
                          length), max_size=4),
       st.sampled_from(MODES), st.sampled_from([0, 2]), st.booleans())
def test_forward_equals_loops_for_any_boxes(boxes, mode, ratio, aligned):
    maps, _ = maps_and_rois(1, torch.float64)
    rois = torch.tensor([[b, x, y, x + w, y + h] for b, x, y, w, h in boxes],
                        dtype=torch.float64).reshape(-1, 5)
    pooled = roi_align(maps, rois, (2, 3), 0.25, ratio, mode, aligned)
    wanted = slow_roi_align(maps, rois, (2, 3), 0.25, ratio, mode, aligned)
    # A sample that rounds to just outside of the map counts as nothing.
    np.testing.assert_allclose(pooled, wanted, atol=1e-9)


@st.composite
def pooling(draw):
    """float64 maps, any possible boxes of them, and how they are pooled."""
    boxes = draw(st.lists(st.tuples(st.sampled_from([0, 1]), corner, corner,
                                    length, length), max_size=5))
    rois = torch.tensor([[b, x, y, x + w, y + h] for b, x, y, w, h in boxes],
                        dtype=torch.float64).reshape(-1, 5)
    maps, _ = maps_and_rois(draw(st.integers(0, 9)), torch.float64)
    return maps, rois, dict(
        aligned_height=draw(st.integers(1, 4)),
        aligned_width=draw(st.integers(1, 4)),
        spatial_scale=draw(st.sampled_from([0.125, 0.5, 1.])),
        sampling_ratio=draw(st.integers(0, 3)),
        pool_mode=draw(st.sampled_from([0, 1])), aligned=draw(st.booleans()))


def forward_and_backward(maps, rois, options):
    """Pooled, rows and columns of the largest, and the gradient for known
    random gradients, which come last."""
    shape = (len(rois), maps.shape[1], options['aligned_height'],
             options['aligned_width'])
    pooled, rows, columns = (maps.new_full(shape, 7.) for _ in range(3))
    roi_align_forward(maps, rois, pooled, rows, columns, **options)
    grads = torch.rand(shape, dtype=maps.dtype,
                       generator=torch.Generator().manual_seed(0))
    gradient = torch.zeros_like(maps)
    roi_align_backward(grads, rois, rows, columns, gradient, **options)
    return pooled, rows, columns, gradient, grads


@settings(max_examples=60, deadline=None)
@given(pooling())
def test_backward_is_the_transpose_of_forward(problem):
    """Both sum the same products of maps, weights and gradients."""
    maps, rois, options = problem
    pooled, _, _, gradient, grads = forward_and_backward(maps, rois, options)
    torch.testing.assert_close((maps * gradient).sum(), (pooled * grads).sum(),
                               rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(pooling())
def test_halved_boxes_give_the_same(problem):
    """Where the lists of all boxes would not fit into memory."""
    together = forward_and_backward(*problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roi_align_module, 'MOST_BYTES_ON_CPU', 1)
        halved = forward_and_backward(*problem)
    for a, b in zip(together[:3], halved[:3]):
        assert torch.equal(a, b)
    torch.testing.assert_close(halved[3], together[3])


def test_far_away_boxes_give_zero():
    maps, _ = maps_and_rois()
    rois = torch.tensor([[0, 1e30, 1e30, 1e30, 1e30],
                         [1, -3e4, -3e4, -2.9e4, -2.9e4]])
    for mode in MODES:
        assert (roi_align(maps, rois, 2, 1., 2, mode, True) == 0).all()


@pytest.mark.parametrize('mode', MODES)
def test_half_precision(mode):
    maps, rois = maps_and_rois(2)
    maps, rois = maps.half(), rois.half()
    maps.requires_grad_()
    pooled = roi_align(maps, rois, 2, 0.5, 2, mode, True)
    assert pooled.dtype == torch.float16
    wanted = slow_roi_align(maps.detach(), rois, (2, 2), 0.5, 2, mode, True)
    np.testing.assert_allclose(pooled.detach(), wanted, atol=5e-3)
    pooled.sum().backward()
    assert maps.grad.dtype == torch.float16
    wide = maps.detach().float().requires_grad_()
    roi_align(wide, rois.float(), 2, 0.5, 2, mode, True).sum().backward()
    assert wide.grad.abs().sum() > 0
    torch.testing.assert_close(maps.grad.float(), wide.grad, atol=2e-2,
                               rtol=1e-2)


def test_no_boxes():
    maps, rois = maps_and_rois()
    maps.requires_grad_()
    for mode in MODES:
        pooled = roi_align(maps, rois[:0], 2, 0.5, 0, mode, True)
        assert pooled.shape == (0, 3, 2, 2)
        pooled.sum().backward()
        assert (maps.grad == 0).all()


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', MODES)
def test_gradients(mode, ratio, aligned):
    maps, rois = maps_and_rois(3, torch.float64)
    maps.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda maps: roi_align(maps, rois, (2, 2), 0.5, ratio, mode,
                               aligned), maps)


def test_argmax_is_where_the_largest_sample_is():
    maps, rois = maps_and_rois(4, torch.float64)
    output = torch.full((5, 3, 2, 2), 9., dtype=torch.float64)
    rows, columns = torch.zeros_like(output), torch.zeros_like(output)
    roi_align_forward(maps, rois, output, rows, columns, aligned_height=2,
                      aligned_width=2, spatial_scale=0.5, sampling_ratio=2,
                      pool_mode=0, aligned=True)
    for place in np.ndindex(*output.shape):
        plane = maps[int(rois[place[0], 0]), place[1]].numpy()
        value = bilinear(plane, float(rows[place]), float(columns[place]))
        assert value == pytest.approx(float(output[place]))


def test_backward_adds_to_what_is_there():
    maps, rois = maps_and_rois(5)
    grad = torch.ones(5, 3, 2, 2)
    none = torch.zeros(0)
    options = dict(aligned_height=2, aligned_width=2, spatial_scale=0.5,
                   sampling_ratio=2, pool_mode=1, aligned=True)
    once, twice = torch.zeros_like(maps), torch.zeros_like(maps)
    roi_align_backward(grad, rois, none, none, once, **options)
    for _ in range(2):
        roi_align_backward(grad, rois, none, none, twice, **options)
    assert once.abs().sum() > 0
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize('bad', [[0, 5., 5, 4, 9], [0, 1, math.nan, 2, 2],
                                 [0, 1, 1, math.inf, 2]])
def test_impossible_boxes_are_named(bad):
    maps, rois = maps_and_rois()
    rois[2] = torch.tensor(bad)
    with pytest.raises(ValueError, match='roi_align: box 2 is'):
        roi_align(maps, rois, 2, 0.5, 2, 'avg', True)


@pytest.mark.parametrize('aligned', [True, False])
def test_torchvision_is_called_by_its_convention(torchvision, aligned):
    """A stand-in for torchvision that is differentiable, on CPU."""
    maps, rois = maps_and_rois(6, torch.float64)

    class Reference(torch.autograd.Function):

        @staticmethod
        def forward(ctx, maps, boxes, size, scale, ratio, aligned):
            ctx.others = boxes, maps.shape, size, scale, ratio, aligned
            return torch.from_numpy(slow_roi_align(
                maps, boxes, size, scale, ratio, 'avg', aligned))

        @staticmethod
        def backward(ctx, grad):
            boxes, shape, size, scale, ratio, aligned = ctx.others
            total = torch.zeros(shape, dtype=grad.dtype)
            for place in np.ndindex(*shape):
                unit = torch.zeros(shape, dtype=grad.dtype)
                unit[place] = 1
                total[place] = (grad.numpy() * slow_roi_align(
                    unit, boxes, size, scale, ratio, 'avg', aligned)).sum()
            return total, None, None, None, None, None

    rois = rois[[0, 2]]
    maps = maps[:1, :1, :4, :4].clone().requires_grad_()
    rois[:, 0] = 0
    mine = roi_align(maps, rois, (2, 2), 0.5, 2, 'avg', aligned)
    grad = torch.arange(1., 9, dtype=torch.float64).view(2, 1, 2, 2)
    wanted, = torch.autograd.grad(mine, maps, grad)
    torchvision.ops.nms = lambda boxes, scores, iou_threshold: boxes
    torchvision.ops.roi_align = Reference.apply
    theirs = roi_align(maps, rois, (2, 2), 0.5, 2, 'avg', aligned)
    torch.testing.assert_close(theirs, mine)
    torch.testing.assert_close(
        torch.autograd.grad(theirs, maps, grad)[0], wanted)


def test_torchvision_gets_float32_and_boxes_that_are_possible(torchvision):
    calls = []

    def operator(maps, rois, size, scale, ratio, aligned):
        calls.append((maps.dtype, rois.dtype, size, scale, ratio, aligned))
        return maps.new_full((len(rois), maps.shape[1], *size), 1 / 3)

    torchvision.ops.nms = lambda boxes, scores, iou_threshold: boxes
    torchvision.ops.roi_align = operator
    maps, rois = maps_and_rois()
    output = roi_align(maps.half(), rois.half(), (2, 3), 0.1, 2, 'avg', True)
    assert torch.equal(output, torch.full_like(output, 1 / 3))
    assert calls == [(torch.float32, torch.float32, (2, 3),
                      float(np.float32(0.1)), 2, True)]
    roi_align(maps, rois, (2, 3), 0.1, 2, 'max', True)
    rois[2, 3] = math.nan
    with pytest.raises(ValueError, match='roi_align: box 2 is'):
        roi_align(maps, rois, (2, 3), 0.1, 2, 'avg', True)
    assert len(calls) == 1


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', MODES)
def test_equal_to_compiled_mmcv(compiled, mode, ratio, aligned):
    maps, rois = maps_and_rois(7)
    rois = rois[:4]
    options = dict(aligned_height=3, aligned_width=2, spatial_scale=0.5,
                   sampling_ratio=ratio, pool_mode=MODES.index(mode),
                   aligned=aligned)
    results = []
    for forward, backward in (
        (roi_align_forward, roi_align_backward),
        (compiled.roi_align_forward, compiled.roi_align_backward)):
        output, rows, columns = torch.zeros(3, 4, 3, 3, 2)
        forward(maps, rois, output, rows, columns, **options)
        grad = torch.zeros_like(maps)
        backward(torch.ones_like(output), rois, rows, columns, grad,
                 **options)
        results.append((output, grad))
    torch.testing.assert_close(results[0], results[1])

"""How many operators the stand-ins call: each is a kernel on a GPU.

Counted on the CPU, below autograd and whatever is made of other operators.
"""
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmal.compat.deform_attn import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from mmal.compat.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)
from mmal.compat.nms import nms
from mmal.compat.roi_align import roi_align_backward, roi_align_forward
from mmal.compat.soft_nms import softnms

# Those that make the CPU wait for what a GPU has computed.
WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', '_unique2',
         'equal', 'is_nonzero')


class Calls(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


def calls(function, *args):
    with Calls() as recorded:
        function(*args)
    return recorded.names


def boxes(number, side=40.):
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(number, 2, generator=generator) * side
    sizes = 1 + torch.rand(number, 2, generator=generator) * side
    return torch.cat([corners, corners + sizes], 1)


def of_roi_align(number, mode, backward):
    maps = torch.ones(1, 2, 25, 25)
    rois = torch.cat([torch.zeros(number, 1), boxes(number)], 1)
    output, rows, columns = torch.zeros(3, number, 2, 3, 3)
    options = 3, 3, 0.25, 0, mode, True
    if backward:
        return calls(roi_align_backward, output, rois, rows, columns,
                     torch.zeros_like(maps), *options)
    return calls(roi_align_forward, maps, rois, output, rows, columns,
                 *options)


@pytest.mark.parametrize('backward', [False, True])
@pytest.mark.parametrize('mode', [0, 1])
def test_roi_align_calls_as_many_for_any_number_of_boxes(mode, backward):
    few, many = (of_roi_align(n, mode, backward) for n in (2, 200))
    assert few == many
    # All but one of them look at what has been copied to the CPU, or find
    # the pixels that a GPU does not ask for.
    assert sum(few[name] for name in (*WAITS, '_to_copy')) <= 15


def test_nms_calls_as_many_for_any_number_of_boxes():
    few, many = (calls(nms, boxes(n), torch.rand(n), 0.5) for n in (2, 3000))
    assert few == many
    assert not any(few[name] for name in WAITS)


def test_soft_nms_calls_as_many_for_any_number_of_boxes():
    few, many = (calls(softnms, boxes(n), torch.rand(n), torch.zeros(n, 5),
                       0.3, 0.5, 0.05, 2, 0) for n in (20, 200))
    assert few == many
    assert not any(few[name] for name in WAITS)


@pytest.mark.parametrize('weight', [torch.zeros(0), torch.ones(4)])
@pytest.mark.parametrize('function', [sigmoid_focal_loss_forward,
                                      sigmoid_focal_loss_backward])
def test_focal_loss_never_waits(function, weight):
    logits = torch.zeros(6, 4)
    names = calls(function, logits, torch.arange(6), weight,
                  torch.zeros_like(logits), 2., 0.25)
    assert names and not any(names[name] for name in WAITS)


@pytest.mark.parametrize('levels', [1, 4])
def test_deformable_attention_never_waits(levels):
    shapes = torch.full((levels, 2), 3)
    value = torch.ones(1, 9 * levels, 2, 4)
    locations = torch.full((1, 5, 2, levels, 3, 2), 0.4)
    inputs = value, shapes, 9 * torch.arange(levels), locations, \
        torch.ones(locations.shape[:-1])
    forward = calls(ms_deform_attn_forward, *inputs, 64)
    backward = calls(
        ms_deform_attn_backward, *inputs, torch.ones(1, 5, 8),
        *(torch.zeros_like(inputs[i]) for i in (0, 3, 4)), 64)
    for names in (forward, backward):
        assert names and not any(names[name] for name in WAITS)

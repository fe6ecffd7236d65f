"""The operators that stand in for mmcv's, on the GPU and on the CPU."""
import sys

import pytest
import torch

from mmal.compat.ops import StandIn
from mmal.compat.torchvision_ops import torchvision_ops

pytestmark = pytest.mark.cuda

OPS = StandIn()
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# torchvision adds up in the type of its inputs
RTOL = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 5e-3,
        torch.bfloat16: 4e-2}
DTYPES = pytest.mark.parametrize(
    'dtype', FLOATS, ids=lambda d: str(d).split('.')[1])


@pytest.fixture(autouse=True, params=['torch', 'torchvision'])
def arithmetic(request, device, monkeypatch):
    """Whose: the stand-ins' own, or torchvision's where there is one."""
    torchvision_ops.cache_clear()
    if request.param == 'torch':
        monkeypatch.setitem(sys.modules, 'torchvision', None)
    elif torchvision_ops(device.type) is None:
        pytest.skip('needs a torchvision that works on this GPU')
    yield
    torchvision_ops.cache_clear()


def both(device, *tensors):
    """Lists of the tensors on the GPU and on the CPU."""
    return [x.to(device) for x in tensors], list(tensors)


def crowded(number, dtype=torch.float32, seed=0):
    """Boxes of whole numbers, whose IoUs are exact, and scores with ties."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 60, (number, 2), generator=generator)
    sides = torch.randint(1, 60, (number, 2), generator=generator)
    scores = torch.randint(0, 20, (number, ), generator=generator) / 20
    return torch.cat([corners, corners + sides], 1).to(dtype), scores.to(dtype)


@DTYPES
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('number', [0, 1, 300, 5000])
def test_nms(device, dtype, offset, number):
    gpu, cpu = (OPS.nms(*x, iou_threshold=.5, offset=offset)
                for x in both(device, *crowded(number, dtype)))
    assert gpu.is_cuda and gpu.dtype == torch.long
    assert gpu.tolist() == cpu.tolist()
    assert number < 300 or 0 < len(cpu) < number


@pytest.mark.parametrize('method', [0, 1, 2])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_soft_nms(device, close, method, dtype):
    kept, filled = [], []
    for boxes, scores in both(device, *crowded(60, dtype)):
        rows = boxes.new_zeros(60, 5)
        kept.append(OPS.softnms(boxes, scores, rows, iou_threshold=.3,
                                sigma=.5, min_score=1e-3, method=method,
                                offset=0))
        filled.append(rows)
    assert kept[0].is_cuda and kept[0].tolist() == kept[1].tolist()
    close(*filled)


@DTYPES
@pytest.mark.parametrize('mode', [0, 1], ids=['max', 'avg'])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align(device, close, dtype, mode, ratio, aligned):
    torch.manual_seed(0)
    maps = torch.randn(2, 4, 20, 30).to(dtype)
    corners = torch.rand(40, 2) * torch.tensor([25., 15.])
    sides = torch.rand(40, 2) * 12 + .1
    image = torch.randint(0, 2, (40, 1))
    rois = torch.cat([image, corners, corners + sides], 1).to(dtype)
    upstream = torch.randn(40, 4, 3, 2).to(dtype)
    options = dict(aligned_height=3, aligned_width=2, spatial_scale=.9,
                   sampling_ratio=ratio, pool_mode=mode, aligned=aligned)
    results = []
    for x, boxes, grad_output in both(device, maps, rois, upstream):
        output, *argmax = (torch.zeros_like(grad_output) for _ in range(3))
        OPS.roi_align_forward(x, boxes, output, *argmax, **options)
        grad = torch.zeros_like(x)
        OPS.roi_align_backward(grad_output, boxes, *argmax, grad, **options)
        results.append((output, grad))
    close(*results, rtol=RTOL[dtype])
    assert all(x.abs().max() > 0 for x in results[1])


@DTYPES
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(device, close, dtype, weighted):
    torch.manual_seed(0)
    logits = (4 * torch.randn(50, 3)).to(dtype)
    target = torch.randint(0, 4, (50, ))
    weight = torch.rand(3 if weighted else 0).to(dtype)
    results = []
    for arguments in both(device, logits, target, weight):
        results.append([torch.zeros_like(arguments[0]) for _ in range(2)])
        for operator, result in zip((OPS.sigmoid_focal_loss_forward,
                                     OPS.sigmoid_focal_loss_backward),
                                    results[-1]):
            operator(*arguments, result, gamma=2., alpha=.25)
    close(*results, rtol=RTOL[dtype])


@DTYPES
def test_deformable_attention(device, close, dtype):
    torch.manual_seed(0)
    shapes = torch.tensor([(6, 9), (3, 5)])
    starts = torch.tensor([0, 54])
    value = torch.randn(2, 54 + 15, 2, 4).to(dtype)
    points = (1.4 * torch.rand(2, 7, 2, 2, 3, 2) - .2).to(dtype)
    weights = torch.rand(2, 7, 2, 2, 3).to(dtype)
    upstream = torch.randn(2, 7, 8).to(dtype)
    results = []
    for *arguments, grad_output in both(device, value, shapes, starts,
                                        points, weights, upstream):
        output = OPS.ms_deform_attn_forward(*arguments, im2col_step=64)
        grads = [torch.zeros_like(arguments[i]) for i in (0, 3, 4)]
        OPS.ms_deform_attn_backward(*arguments, grad_output, *grads,
                                    im2col_step=64)
        results.append((output, *grads))
    # a point that is rounded otherwise lies elsewhere
    close(*results, rtol=4 * RTOL[dtype])

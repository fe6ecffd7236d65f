"""How often Python waits for the GPU, and how many kernels it is given."""
import sys

import pytest
import torch
from mmcv.ops import nms, roi_align

from mmal import scoring
from mmal.compat.torchvision_ops import torchvision_ops
from mmal.models.utils.evaluation_mode import evaluation_mode

pytestmark = pytest.mark.cuda

# waits an image of a batch of three, at most; mmdet's predict has about 6
WAITS = dict(EntropyScorer=0, LeastConfidenceScorer=0, GradScorer=2,
             DetectionEntropyScorer=8, InfluenceScorer=30,
             LocalizationStabilityScorer=16)
OPTIONS = dict(LocalizationStabilityScorer=dict(levels=[8]))


@pytest.mark.parametrize('name', WAITS)
def test_scorers(device, detector, data, watch, name):
    model, images = detector('fcos', device), data(labelled=3)
    scorer = getattr(scoring, name)(**OPTIONS.get(name, {}))
    scorer.check(model, images)
    with evaluation_mode(model):
        scorer.prepare(model, images)
        batch = max(images.batches('unlabelled', model), key=len)
        with watch:
            scorer.process(model, batch)
    assert watch.waits <= len(batch) * WAITS[name], watch.report()


@pytest.fixture
def own_arithmetic(monkeypatch):
    """The stand-ins for mmcv's operators without torchvision."""
    torchvision_ops.cache_clear()
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    yield
    torchvision_ops.cache_clear()


def boxes(number, device):
    torch.manual_seed(0)
    corners = torch.rand(number, 2) * 40
    return torch.cat([corners, corners + 1 + torch.rand(number, 2) * 20],
                     1).to(device)


@pytest.mark.parametrize('number', [1, 4000])
def test_nms(device, watch, own_arithmetic, number):
    scores = torch.rand(number, device=device)
    x = boxes(number, device)
    with watch:
        nms(x, scores, .5)
    assert watch.kinds['kernel'] <= 60 and watch.waits <= 2, watch.report()


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('number', [1, 1000])
def test_roi_align(device, watch, own_arithmetic, number, mode):
    maps = torch.randn(1, 8, 64, 64, device=device, requires_grad=True)
    rois = torch.cat([torch.zeros(number, 1, device=device),
                      boxes(number, device)], 1)
    with watch:
        roi_align(maps, rois, (7, 7), 1., 0, mode, True).sum().backward()
    assert watch.kinds['kernel'] <= 120 and watch.waits <= 2, watch.report()

"""Standard deviations of boxes against decoding many draws."""
import numpy as np
import pytest
import torch
from helpers.tiny_faster_rcnn import tiny_mdn_faster_rcnn
from helpers.tiny_ssd import tiny_mdn_ssd
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.coders import (
    DeltaXYWHBBoxCoder,
    DistancePointBBoxCoder,
)

from mmal.models.layers import GaussianMixture
from mmal.models.utils.box_std import delta_box_std, mixture_box_std
from mmal.models.utils.per_image import head_outputs
from mmal.recorder import Recorder
from mmal.scoring.detector import dummy_batch

CODERS = [
    dict(),
    dict(target_stds=(0.1, 0.1, 0.2, 0.2)),
    dict(target_means=(0.1, -0.2, 0.3, -0.1), target_stds=(0.5, 1., 2., 0.3)),
]
SMALL = (1e-3, 1e-3, 2e-3, 2e-3)  # terms of higher order vanish


def priors_of(n, rng):
    corner = torch.rand(n, 2, generator=rng) * 100
    return torch.cat([corner, corner + 5 + torch.rand(n, 2, generator=rng) *
                      80], 1).double()


@pytest.mark.parametrize('options', CODERS)
def test_std_of_decoded_draws(options):
    rng = torch.Generator().manual_seed(0)
    coder = DeltaXYWHBBoxCoder(**options)
    n, draws = 5, 40000
    priors = priors_of(n, rng)
    deltas = torch.randn(n, 4, generator=rng).double()
    stds = 0.03 * torch.rand(n, 4, generator=rng).double()
    noise = torch.randn(draws, n, 4, generator=rng).double()
    boxes = coder.decode(
        priors.repeat(draws, 1), (deltas + noise * stds).reshape(-1, 4))
    expected = boxes.view(draws, n, 4).std(0)
    found = delta_box_std(coder, priors, deltas, stds**2)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_one_delta_at_a_time():
    """By hand: pw·σ of the centre, w/2·σ of the width."""
    coder = DeltaXYWHBBoxCoder()
    priors = torch.tensor([[0., 0., 10., 20.]]).expand(4, 4)
    deltas = torch.tensor([0., 0., np.log(2), 0.]).float().expand(4, 4)
    found = delta_box_std(coder, priors, deltas, 0.04 * torch.eye(4))
    assert found.numpy() == pytest.approx(
        np.array([[2, 0, 2, 0], [0, 4, 0, 4], [2, 0, 2, 0], [0, 2, 0, 2]]))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 3),
    scale=st.sampled_from([0.0, 1.0, 65504.0]),
    half=st.booleans(),
    rescale=st.booleans())
def test_extreme_deltas_stay_finite(n, scale, half, rescale):
    rng = torch.Generator().manual_seed(n)
    raw = [(scale * torch.randn(n, 2, 4, generator=rng)).clamp(-65504, 65504)
           for _ in range(3)]
    raw = [x.half() if half else x for x in raw]
    found = mixture_box_std(
        DeltaXYWHBBoxCoder(), priors_of(n, rng).float(),
        GaussianMixture.from_raw(*raw), dict(scale_factor=(2., 4.)), rescale)
    assert found.shape == (n, 4) and found.dtype == torch.float32
    assert found.isfinite().all() and (found >= 0).all()


def test_other_outputs_have_none():
    priors, raw = torch.rand(1, 4), torch.zeros(1, 1, 4)
    mixture = GaussianMixture.from_raw(raw, raw, raw)
    meta = dict(scale_factor=(1., 1.))
    assert mixture_box_std(DeltaXYWHBBoxCoder(), priors, None, meta,
                           True) is None
    assert mixture_box_std(DistancePointBBoxCoder(), priors, mixture, meta,
                           True) is None


def drawn_boxes(coder, prior, raw, components, draws=200000, seed=0):
    """Boxes of draws from the mixtures in one box's raw outputs."""
    rng = np.random.default_rng(seed)
    means, variances, logits = raw.double().numpy().reshape(3, components, 4)
    weights = np.exp(logits) / np.exp(logits).sum(0)
    deltas = np.empty((draws, 4))
    for b in range(4):
        k = rng.choice(components, draws, p=weights[:, b])
        std = np.sqrt(1 / (1 + np.exp(-variances[k, b])))
        deltas[:, b] = means[k, b] + std * rng.standard_normal(draws)
    return coder.decode(prior.double().expand(draws, 4),
                        torch.from_numpy(deltas))


def find(model, rescale, seed=0):
    batch = dummy_batch(model, 96)
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(1, 3, 96, 96, generator=rng)
    batch.samples[0].set_metainfo(dict(scale_factor=(2.0, 0.5)))
    with torch.no_grad():
        return inputs, model.predict(
            inputs, batch.samples, rescale=rescale)[0].pred_instances


def test_ssd_through_nms_and_rescaling():
    model = tiny_mdn_ssd(components=3)
    head = model.bbox_head
    head.bbox_coder.stds = SMALL
    inputs, found = find(model, rescale=False)
    large = find(model, rescale=True)[1]
    with torch.no_grad():
        classes, boxes = head_outputs(model, inputs)
    anchors = torch.cat(
        head.prior_generator.grid_priors([(12, 12), (6, 6), (3, 3)],
                                         device='cpu'))
    probs = head.class_probabilities(classes, boxes)[0]
    raw = torch.cat([
        level[0].permute(1, 2, 0).reshape(-1, head.box_output.channels)
        for level in boxes
    ])
    assert len(found) > 3
    for i in range(min(len(found), 5)):
        a = (probs - found.class_probs[i]).abs().sum(1).argmin()
        expected = drawn_boxes(head.bbox_coder, anchors[a], raw[a], 3).std(0)
        torch.testing.assert_close(
            found.box_std[i].double(), expected, rtol=0.02, atol=0)
    assert torch.equal(found.labels, large.labels)
    torch.testing.assert_close(
        large.box_std,
        found.box_std / torch.tensor([2.0, 0.5, 2.0, 0.5]))


def test_a_class_has_the_std_of_its_box():
    """Faster R-CNN's box head, whose boxes differ between classes."""
    model = tiny_mdn_faster_rcnn(components=2)
    head = model.roi_head.bbox_head
    head.bbox_coder.stds = SMALL
    extractor = model.roi_head.bbox_roi_extractor
    with Recorder(dict(rois=extractor, head=head)) as recorder:
        _, found = find(model, rescale=True)
    calls = {call.name: call for call in recorder.calls}
    rois = calls['rois'].args[1]
    logits, raw = calls['head'].output
    scores = head.class_probabilities(logits)
    assert len(found) > 3 and len(recorder.calls) == 2
    for i in range(min(len(found), 5)):
        row = (scores - found.class_probs[i]).abs().sum(1).argmin()
        own = raw[row].view(head.num_classes, -1)[found.labels[i]]
        boxes = drawn_boxes(head.bbox_coder, rois[row, 1:], own, 2)
        expected = boxes.std(0) / torch.tensor([2.0, 0.5, 2.0, 0.5])
        torch.testing.assert_close(
            found.box_std[i].double(), expected, rtol=0.02, atol=0)


def test_plain_boxes_have_no_std():
    _, found = find(tiny_mdn_ssd(box_components=0), rescale=True)
    assert len(found) and 'box_std' not in found

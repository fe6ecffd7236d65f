"""Mixtures of the edges of boxes against decoding many draws."""
import numpy as np
import pytest
import torch
from helpers.tiny_faster_rcnn import tiny_mdn_faster_rcnn
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from helpers.tiny_ssd import tiny_mdn_ssd
from mmdet.models.task_modules.coders import (
    DeltaXYWHBBoxCoder,
    DistancePointBBoxCoder,
)

from mmal.evaluation import mixture_cdf
from mmal.models.layers import GaussianMixture
from mmal.models.utils.box_mixture import (
    delta_box_mixture,
    delta_mixture_fields,
)
from mmal.models.utils.box_std import delta_box_std
from mmal.scoring.detector import dummy_batch

FIELDS = ('box_mixture_means', 'box_mixture_stds', 'box_mixture_weights')
DRAWS = 40000
# the largest distance of the two distributions that chance makes
CHANCE = 2 / DRAWS**0.5


def mixture_of(n, components, seed, spread=1.0, std=0.1):
    """Peaks that lie far apart, in float64."""
    rng = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(n, components, 4, generator=rng)
    stds = std * (0.3 + torch.rand(n, components, 4, generator=rng))
    logits = torch.randn(n, components, 4, generator=rng)
    return GaussianMixture(means.double(), stds.double()**2,
                           logits.double().log_softmax(1))


def draws_of(mixture, seed=0):
    """Draws [DRAWS, n, 4] of independent mixtures."""
    rng = np.random.default_rng(seed)
    n, components = mixture.means.shape[:2]
    bounds = mixture.weights.cumsum(1).numpy()
    k = (rng.random((DRAWS, n, 1, 4)) > bounds[None]).sum(2, keepdims=True)
    k = k.clip(max=components - 1)
    means, variances = (
        np.take_along_axis(x.numpy()[None].repeat(DRAWS, 0), k, 2)[:, :, 0]
        for x in (mixture.means, mixture.variances))
    return torch.from_numpy(
        means + np.sqrt(variances) * rng.standard_normal(means.shape))


def distance(draws, edges):
    """Kolmogorov's distance of each edge [n, 4]: draws [DRAWS, n, 4]."""
    arrays = [np.asarray(x.detach()) for x in edges]
    ordered = np.sort(draws.numpy(), axis=0)
    expected = (np.arange(len(ordered)) + 0.5) / len(ordered)
    found = np.stack([mixture_cdf(row, *arrays) for row in ordered[::40]])
    return np.abs(found - expected[::40, None, None]).max(0)


def parts(mixture):
    return mixture.means, mixture.variances.sqrt(), mixture.weights


def priors_of(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=rng) * 100
    return torch.cat([corner, corner + 5 +
                      torch.rand(n, 2, generator=rng) * 80], 1).double()


@pytest.mark.parametrize('coder', [
    dict(), dict(target_stds=(0.1, 0.1, 0.2, 0.2)),
    dict(target_means=(0.1, -0.2, 0.3, -0.1), target_stds=(0.5, 1., 2., 0.3))])
def test_edges_are_distributed_as_decoded_draws(coder):
    coder = DeltaXYWHBBoxCoder(**coder)
    n = 4
    priors, mixture = priors_of(n), mixture_of(n, 3, 0, 0.5, 0.04)
    draws = draws_of(mixture)
    boxes = coder.decode(priors.repeat(DRAWS, 1), draws.reshape(-1, 4))
    edges = delta_box_mixture(coder, priors, mixture)
    assert edges.means.shape == (n, 9, 4)
    torch.testing.assert_close(edges.weights.sum(1), torch.ones(n, 4).double())
    boxes = boxes.view(DRAWS, n, 4)
    # exp(dw) is no Gaussian: terms of higher order remain
    assert distance(boxes, parts(edges)).max() < CHANCE + 0.01
    total = (edges.aleatoric + edges.epistemic).sqrt()
    torch.testing.assert_close(edges.mean, boxes.mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(total, boxes.std(0), rtol=0.03, atol=0)
    # one Gaussian with that mean and deviation is another distribution
    one = (edges.mean[:, None], total[:, None], torch.ones(n, 1, 4))
    assert distance(boxes, one).max() > 5 * CHANCE


def test_one_component_is_the_gaussian_of_box_std():
    coder = DeltaXYWHBBoxCoder(target_stds=(0.1, 0.1, 0.2, 0.2))
    priors, mixture = priors_of(5), mixture_of(5, 1, 0)
    edges = delta_box_mixture(coder, priors, mixture)
    torch.testing.assert_close(
        edges.means[:, 0], coder.decode(priors, mixture.means[:, 0]))
    torch.testing.assert_close(
        edges.variances[:, 0].sqrt(),
        delta_box_std(coder, priors, mixture.mean, mixture.aleatoric))


def test_only_where_it_is_asked_for():
    priors, mixture = priors_of(2).float(), mixture_of(2, 2, 0)
    meta = dict(scale_factor=(2.0, 4.0))
    ours, other = DeltaXYWHBBoxCoder(), DistancePointBBoxCoder()
    wanted = dict(box_mixture=True)
    for args in ((dict(), ours, priors, mixture),
                 (wanted, ours, priors, None),
                 (wanted, other, priors, mixture)):
        assert delta_mixture_fields(*args, meta, True) == {}
    found, large = (
        delta_mixture_fields(wanted, ours, priors, mixture, meta, rescale)
        for rescale in (True, False))
    scale = torch.tensor([2., 4., 2., 4.])
    assert tuple(found) == FIELDS
    torch.testing.assert_close(found[FIELDS[0]] * scale, large[FIELDS[0]],
                               check_dtype=False)
    torch.testing.assert_close(found[FIELDS[1]] * scale, large[FIELDS[1]],
                               check_dtype=False)


def box_head(model):
    """The head whose test_cfg says what detections carry, and its coder."""
    if hasattr(model, 'roi_head'):
        return model.roi_head, model.roi_head.bbox_head.bbox_coder
    return model.bbox_head, model.bbox_head.bbox_coder


def find(model, wanted):
    box_head(model)[0].test_cfg.box_mixture = wanted
    batch = dummy_batch(model, 96)
    inputs = torch.randn(1, 3, 96, 96,
                         generator=torch.Generator().manual_seed(0))
    batch.samples[0].set_metainfo(dict(scale_factor=(2.0, 0.5)))
    with torch.no_grad():
        return model.predict(
            inputs, batch.samples, rescale=True)[0].pred_instances


@pytest.mark.parametrize('build, count', [
    (lambda: tiny_mdn_ssd(components=3), 9),
    (lambda: tiny_mdn_faster_rcnn(components=2), 4),
    (lambda: tiny_mdn_fcos(components=3, norm_on_bbox=True), 3),
    (lambda: tiny_mdn_fcos(components=1, norm_on_bbox=False), 1)])
def test_detections_carry_them(build, count):
    """With the mean and the deviation that they have anyway.

    Where the outputs are linear, or nearly so, or have one component.
    """
    model = build()
    coder = box_head(model)[1]
    if isinstance(coder, DeltaXYWHBBoxCoder):
        coder.stds = (1e-2, 1e-2, 1e-3, 1e-3)
    plain, found = find(model, False), find(model, True)
    assert not any(name in plain for name in FIELDS) and len(found) > 3
    for name in plain.keys():
        assert torch.equal(plain[name], found[name])
    means, stds, weights = (found[name] for name in FIELDS)
    assert means.shape == stds.shape == weights.shape == (
        len(found), count, 4)
    edges = GaussianMixture(means, stds**2, weights.log())
    total = (edges.aleatoric + edges.epistemic).sqrt()
    torch.testing.assert_close(total, found.box_std, rtol=0.02, atol=1e-3)
    # boxes end at the border of the image, and sides at 0
    size = torch.tensor([96 / 2, 96 / 0.5]).repeat(2)
    inside = ((found.bboxes > 1e-3) & (found.bboxes < size - 1e-3)).all(1)
    assert inside.any()
    torch.testing.assert_close(edges.mean[inside], found.bboxes[inside],
                               rtol=1e-3, atol=0.05)


@pytest.mark.parametrize('norm', [True, False])
def test_edges_of_fcos_are_distributed_as_decoded_draws(norm):
    head = tiny_mdn_fcos(components=3, norm_on_bbox=norm).bbox_head
    n, unit = 3, 8 if norm else 1
    points = torch.tensor([[20., 50.], [64., 8.], [5., 5.]]).double()
    mixture = mixture_of(n, 3, 1, std=0.01)
    mixture.means += 4  # sides are positive
    draws = draws_of(mixture)
    sides = (draws if norm else draws.exp()) * unit
    boxes = head.bbox_coder.decode(points.repeat(DRAWS, 1),
                                   sides.reshape(-1, 4))
    edges = head.edge_mixture(mixture, points, torch.full((n, 1), unit))
    found = distance(boxes.view(DRAWS, n, 4), parts(edges)).max()
    assert found < CHANCE + (0 if norm else 0.01)
